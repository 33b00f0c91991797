package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// Takeover is what other hands own of a live object and the release states otherwise,
// or not at all. The zero value is nothing.
type Takeover struct {
	live   *unstructured.Unstructured
	hands  []manager              // with the fields that are taken over
	rest   map[int]*fieldpath.Set // what a hand keeps, by the place of its entry
	own    *fieldpath.Set         // what shipit owns
	others *fieldpath.Set         // what others own
	fields map[string][]string    // readable, by manager
}

// Empty reports whether there is nothing to take over.
func (t Takeover) Empty() bool { return len(t.hands) == 0 }

// Live is the object from which is taken over.
func (t Takeover) Live() *unstructured.Unstructured { return t.live }

// shownFields is how many fields of a manager are named.
const shownFields = 6

// String names the managers and their fields: `kubectl-set (spec.replicas)`.
func (t Takeover) String() string {
	var parts []string
	for _, m := range t.hands {
		part, fields := m.name, t.fields[m.name]
		if len(fields) > shownFields {
			fields = append(slices.Clone(fields[:shownFields]), fmt.Sprintf("and %d more", len(fields)-shownFields))
		}
		if len(fields) > 0 {
			part += " (" + strings.Join(fields, ", ") + ")"
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// ByHand finds what of a live object has to be taken over from other hands before
// want is applied, so that the server then removes what they have added; and from
// nobody what the server has filled in and want has no use for. nil is no live object.
func ByHand(want map[string]any, live *unstructured.Unstructured, p Policy) Takeover {
	if live == nil {
		return Takeover{}
	}
	defaults := obsoleteDefaults(want, live)
	if defaults.Empty() && !slices.ContainsFunc(object.ManagedFields(live), func(e metav1.ManagedFieldsEntry) bool {
		return p.isHand(manager{name: e.Manager, subresource: e.Subresource}) && e.APIVersion == live.GetAPIVersion()
	}) {
		return Takeover{}
	}
	t := Takeover{live: live, own: fieldpath.NewSet(), others: fieldpath.NewSet(), rest: map[int]*fieldpath.Set{}, fields: map[string][]string{}}
	id := object.IDOf(live)
	foreign, managers := false, managersOf(live)
	isNew := !slices.ContainsFunc(managers, manager.isOwn)
	for _, m := range managers {
		switch {
		case m.isOwn():
			t.own = t.own.Union(m.fields)
		case !p.isHand(m) || m.apiVersion != live.GetAPIVersion():
			t.others = t.others.Union(m.fields)
		default:
			taken := fieldpath.NewSet()
			m.fields.Iterate(func(path fieldpath.Path) {
				if counts(id, m, isNew, path) && !leftOpen(want, live, path) {
					taken.Insert(path.Copy())
				}
			})
			t.rest[m.index] = m.fields.Difference(taken)
			t.others = t.others.Union(t.rest[m.index])
			if taken.Empty() {
				continue
			}
			if fields := foreignFields(want, live, m.fields.Leaves().Intersection(taken)); len(fields) > 0 {
				foreign, t.fields[m.name] = true, append(t.fields[m.name], fields...)
			}
			m.fields = taken
			t.hands = append(t.hands, m)
		}
	}
	if fields := foreignFields(want, live, defaults); len(fields) > 0 {
		foreign, t.fields[serverDefaults] = true, fields
		t.hands = append(t.hands, manager{name: serverDefaults, index: -1, fields: defaults})
	}
	if !foreign {
		return Takeover{}
	}
	return t
}

// leftOpen reports whether a path is that of replicas which the release leaves to
// whoever scales. None at all is not a scale that anyone wants.
func leftOpen(want map[string]any, live *unstructured.Unstructured, path fieldpath.Path) bool {
	if len(path) != 2 || field(path, 0) != "spec" || field(path, 1) != "replicas" {
		return false
	}
	_, stated := lookup(want, path)
	n, _ := lookup(live.Object, path)
	return !stated && !zero(n)
}

// foreignFields are those of a set that are live and not as want has them. Of what
// want does not have at all the outermost part is named.
func foreignFields(want map[string]any, live *unstructured.Unstructured, set *fieldpath.Set) []string {
	var out []string
	leaves(set, func(path fieldpath.Path) {
		theirs, exists := lookup(live.Object, path)
		if !exists {
			return
		}
		ours, stated := lookup(want, path)
		if stated && Covers(ours, theirs) && (Covers(theirs, ours) || !composite(theirs)) {
			return
		}
		if !stated && isKey(path) {
			if _, statesItem := lookup(want, path[:len(path)-1]); statesItem {
				return // the protocol of a port, which the server fills in
			}
		}
		out = append(out, readable(path[:statedPart(want, path)]))
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// statedPart is how many elements of a path it takes until want has nothing there.
func statedPart(want map[string]any, path fieldpath.Path) int {
	for i := 1; i < len(path); i++ {
		if _, stated := lookup(want, path[:i]); !stated {
			return i
		}
	}
	return len(path)
}

func composite(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// isKey reports whether a path is that of a field by which an item is known in its list.
func isKey(path fieldpath.Path) bool {
	if len(path) < 2 || path[len(path)-2].Key == nil {
		return false
	}
	name := field(path, len(path)-1)
	for _, f := range *path[len(path)-2].Key {
		if f.Name == name {
			return true
		}
	}
	return false
}

// ManagedFields are the entries of the live object with the fields of the hands in
// shipit's own.
func (t Takeover) ManagedFields() ([]metav1.ManagedFieldsEntry, error) {
	now := metav1.NewTime(time.Now())
	mine := metav1.ManagedFieldsEntry{Manager: object.Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: t.live.GetAPIVersion(), FieldsType: "FieldsV1"}
	var out []metav1.ManagedFieldsEntry
	for i, e := range object.ManagedFields(t.live) {
		rest, isHand := t.rest[i]
		switch {
		case e.Manager == mine.Manager && e.Operation == mine.Operation && e.APIVersion == mine.APIVersion && e.Subresource == "":
			continue
		case isHand && rest.Empty():
			continue
		case isHand:
			raw, err := rest.ToJSON()
			if err != nil {
				return nil, err
			}
			e.FieldsV1 = &metav1.FieldsV1{Raw: raw}
		}
		out = append(out, e)
	}
	raw, err := t.last().ToJSON()
	if err != nil {
		return nil, err
	}
	mine.Time, mine.FieldsV1 = &now, &metav1.FieldsV1{Raw: raw}
	return append(out, mine), nil
}

// last is what shipit owns once it has taken over.
func (t Takeover) last() *fieldpath.Set {
	all := t.own
	for _, m := range t.hands {
		all = all.Union(m.fields)
	}
	return all
}
