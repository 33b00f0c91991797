package compare

import (
	"fmt"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// key is what the server tells the items of a list apart by. The schema of each
// list says so; these rules hold for the lists of all built-in kinds.
type key []keyField

type keyField struct {
	name  string
	value any
}

// itemKey is the key of a list's item; nil if the list has none.
func itemKey(item any) key {
	m, ok := item.(map[string]any)
	if !ok {
		return nil
	}
	for _, field := range []string{"containerPort", "port"} {
		if n, ok := m[field]; ok {
			protocol, _ := keyValue(m, "protocol")
			return key{{field, n}, {"protocol", protocol}}
		}
	}
	if topology, ok := m["topologyKey"]; ok && m["whenUnsatisfiable"] != nil {
		return key{{"topologyKey", topology}, {"whenUnsatisfiable", m["whenUnsatisfiable"]}}
	}
	if ip, ok := m["ip"]; ok && m["hostnames"] != nil {
		return key{{"ip", ip}}
	}
	for _, field := range []string{"mountPath", "devicePath", "name"} {
		if s, ok := m[field].(string); ok {
			return key{{field, s}}
		}
	}
	return nil
}

// keyValue is the value of a field that may be part of an item's key: the server
// fills in the protocol of a port.
func keyValue(item map[string]any, field string) (any, bool) {
	v, ok := item[field]
	if field == "protocol" && v == nil {
		return "TCP", true
	}
	return v, ok
}

func (k key) equal(other key) bool {
	if len(k) != len(other) {
		return false
	}
	for i := range k {
		if k[i].name != other[i].name || !equalScalars(k[i].value, other[i].value) {
			return false
		}
	}
	return true
}

// element is how the server names an item of a list in a path.
func element(item any, index int) fieldpath.PathElement {
	if _, ok := item.(map[string]any); !ok {
		v := value.NewValueInterface(item)
		return fieldpath.PathElement{Value: &v}
	}
	k := itemKey(item)
	if k == nil {
		return fieldpath.PathElement{Index: &index}
	}
	fields := make(value.FieldList, len(k))
	for i, f := range k {
		fields[i] = value.Field{Name: f.name, Value: value.NewValueInterface(f.value)}
	}
	return fieldpath.PathElement{Key: &fields}
}

// lookup finds the value at a path; false if there is none.
func lookup(v any, path fieldpath.Path) (any, bool) {
	for _, e := range path {
		next, _, ok := follow(v, e)
		if !ok {
			return nil, false
		}
		v = next
	}
	return v, true
}

// follow is the value at one path element; index is its place in a list, else -1.
func follow(v any, e fieldpath.PathElement) (next any, index int, ok bool) {
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

func keyMatches(item any, fields value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, f := range fields {
		have, ok := keyValue(m, f.Name)
		if !ok || !value.Equals(value.NewValueInterface(have), f.Value) {
			return false
		}
	}
	return true
}

// remove takes the value at a path out of an object, if there is one.
func remove(v any, path fieldpath.Path) {
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
	_, at, ok := follow(parent, last)
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

// RemoveField takes the field out of an object that the server's text of a path
// names, such as .spec.replicas; false if there is no such field.
func RemoveField(body map[string]any, field string) bool {
	var target fieldpath.Path
	walk(body, nil, func(p fieldpath.Path) bool {
		if p.String() == field {
			target = p.Copy()
			return false
		}
		return true
	})
	if target == nil {
		return false
	}
	remove(body, target)
	return true
}

// leaves calls f for every field of a set that has no other field of it.
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
			path := append(at[:len(at):len(at)], element(inner, i))
			if !f(path) || !walk(inner, path, f) {
				return false
			}
		}
	}
	return true
}

// readable is spec.template.spec.containers[web].image for the server's
// .spec.template.spec.containers[name="web"].image.
func readable(p fieldpath.Path) string {
	var b strings.Builder
	for _, e := range p {
		switch {
		case e.FieldName != nil:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(*e.FieldName)
		case e.Key != nil:
			fmt.Fprintf(&b, "[%v]", (*e.Key)[0].Value.Unstructured())
		case e.Value != nil:
			fmt.Fprintf(&b, "[%v]", (*e.Value).Unstructured())
		case e.Index != nil:
			fmt.Fprintf(&b, "[%d]", *e.Index)
		}
	}
	return b.String()
}
