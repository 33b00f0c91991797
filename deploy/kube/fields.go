package kube

import (
	"bytes"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// owner is one manager's hold on fields of an object.
type owner struct {
	manager     string
	subresource string
	fields      *fieldpath.Set
}

// others are the managers of a live object besides shipit, without those that
// only write its status.
func others(live *unstructured.Unstructured) []owner {
	var out []owner
	for _, m := range live.GetManagedFields() {
		if m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil || m.Subresource == "status" {
			continue
		}
		var set fieldpath.Set
		if set.FromJSON(bytes.NewReader(m.FieldsV1.Raw)) == nil {
			out = append(out, owner{manager: m.Manager, subresource: m.Subresource, fields: &set})
		}
	}
	return out
}

// autoscaler reports whether the owner holds replicas as an autoscaler does: by
// the scale subresource, and not from a person's hand.
func (o owner) autoscaler() bool {
	return o.subresource == "scale" && !strings.HasPrefix(o.manager, "kubectl")
}

// lookup finds the value at a path; false if there is none.
func lookup(v any, path fieldpath.Path) (any, bool) {
	for _, element := range path {
		next, _, ok := step(v, element)
		if !ok {
			return nil, false
		}
		v = next
	}
	return v, true
}

// step follows one path element; index is the place in a list, else -1.
func step(v any, e fieldpath.PathElement) (next any, index int, ok bool) {
	switch {
	case e.FieldName != nil:
		m, isMap := v.(map[string]any)
		if !isMap {
			return nil, -1, false
		}
		next, ok = m[*e.FieldName]
		return next, -1, ok
	case e.Key != nil:
		items, _ := v.([]any)
		for i, item := range items {
			if keyMatches(item, *e.Key) {
				return item, i, true
			}
		}
	case e.Value != nil:
		items, _ := v.([]any)
		for i, item := range items {
			if value.Equals(value.NewValueInterface(item), *e.Value) {
				return item, i, true
			}
		}
	case e.Index != nil:
		if items, _ := v.([]any); *e.Index < len(items) {
			return items[*e.Index], *e.Index, true
		}
	}
	return nil, -1, false
}

func keyMatches(item any, key value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, k := range key {
		have, ok := m[k.Name]
		if !ok {
			// The server fills in the protocol of a port, which is part of its key.
			have = any("TCP")
			if k.Name != "protocol" {
				return false
			}
		}
		if !value.Equals(value.NewValueInterface(have), k.Value) {
			return false
		}
	}
	return true
}

// drop removes the value at a path of an object; nothing happens if it is not there.
func drop(v any, path fieldpath.Path) {
	if len(path) == 0 {
		return
	}
	parent, ok := lookup(v, path[:len(path)-1])
	if !ok {
		return
	}
	last := path[len(path)-1]
	if m, isMap := parent.(map[string]any); isMap && last.FieldName != nil {
		delete(m, *last.FieldName)
		return
	}
	_, at, ok := step(parent, last)
	if !ok || at < 0 || len(path) < 2 {
		return
	}
	items := parent.([]any)
	rest := append(append([]any{}, items[:at]...), items[at+1:]...)
	if holder, ok := lookup(v, path[:len(path)-2]); ok {
		if m, isMap := holder.(map[string]any); isMap && path[len(path)-2].FieldName != nil {
			m[*path[len(path)-2].FieldName] = rest
		}
	}
}

// leaves calls f for every field of a set that holds no other field of it.
func leaves(set *fieldpath.Set, f func(fieldpath.Path)) {
	set.Leaves().Iterate(func(p fieldpath.Path) { f(p.Copy()) })
}

// walk visits the path of every value in an object, by the names and keys that
// the server uses; f returns false to end it.
func walk(v any, at fieldpath.Path, f func(fieldpath.Path) bool) bool {
	switch x := v.(type) {
	case map[string]any:
		for name, inner := range x {
			path := append(at[:len(at):len(at)], fieldpath.PathElement{FieldName: &name})
			if !f(path) || !walk(inner, path, f) {
				return false
			}
		}
	case []any:
		for i, inner := range x {
			path := append(at[:len(at):len(at)], elementOf(inner, i))
			if !f(path) || !walk(inner, path, f) {
				return false
			}
		}
	}
	return true
}

// elementOf is how the server names an item of a list.
func elementOf(item any, index int) fieldpath.PathElement {
	m, ok := item.(map[string]any)
	if !ok {
		v := value.NewValueInterface(item)
		return fieldpath.PathElement{Value: &v}
	}
	field := func(name string, v any) value.Field {
		return value.Field{Name: name, Value: value.NewValueInterface(v)}
	}
	protocol := m["protocol"]
	if protocol == nil {
		protocol = "TCP"
	}
	for _, name := range []string{"containerPort", "port"} {
		if n, ok := m[name]; ok {
			key := value.FieldList{field(name, n), field("protocol", protocol)}
			return fieldpath.PathElement{Key: &key}
		}
	}
	for _, name := range []string{"mountPath", "devicePath", "name"} {
		if s, ok := m[name]; ok {
			key := value.FieldList{field(name, s)}
			return fieldpath.PathElement{Key: &key}
		}
	}
	return fieldpath.PathElement{Index: &index}
}
