package compare

import (
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Applied is the live object as the server would make it if want were applied after
// the take-over, but for defaults and webhooks: what shipit and the hands own and
// neither want nor anyone else has is gone, and want is in.
func (t Takeover) Applied(want map[string]any) map[string]any {
	out := t.live.DeepCopy().Object
	others := t.others.Union(pathsOf(want))
	last := t.last()
	last.Iterate(func(path fieldpath.Path) {
		for i := range path {
			prefix := path[:i+1]
			if isKey(prefix) || prefix[i].FieldName == nil && !last.Has(prefix) {
				continue
			}
			if !others.Has(prefix) && within(others, prefix).Empty() {
				remove(out, prefix.Copy())
				return
			}
		}
	})
	overlay{whole: last.Leaves()}.into(out, want, nil)
	return out
}

// within are the paths of a set that begin with a prefix.
func within(set *fieldpath.Set, prefix fieldpath.Path) *fieldpath.Set {
	for _, e := range prefix {
		set = set.WithPrefix(e)
	}
	return set
}

// pathsOf are the paths of every value in an object.
func pathsOf(v any) *fieldpath.Set {
	set := fieldpath.NewSet()
	walk(v, nil, func(p fieldpath.Path) bool {
		set.Insert(p.Copy())
		return true
	})
	return set
}

// overlay puts one object over another as a server-side apply does. What is a leaf to
// the server is replaced whole, even if it is a map or a list.
type overlay struct{ whole *fieldpath.Set }

func (o overlay) into(live, want map[string]any, at fieldpath.Path) {
	for name, w := range want {
		path := append(at[:len(at):len(at)], fieldpath.PathElement{FieldName: &name})
		live[name] = o.merged(live[name], w, path)
	}
}

// merged is what becomes of the value at a path.
func (o overlay) merged(live, want any, path fieldpath.Path) any {
	if composite(live) && o.whole.Has(path) {
		return want
	}
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return want
		}
		o.into(l, w, path)
		return l
	case []any:
		l, ok := live.([]any)
		if !ok || len(w) == 0 || !keyed(w) {
			return want
		}
		return o.items(l, w, path)
	}
	return want
}

// items are those of want, merged with the live ones, and the live ones besides.
func (o overlay) items(live, want []any, path fieldpath.Path) []any {
	var out []any
	used := map[int]bool{}
	for i, w := range want {
		k := itemKey(w)
		item := w
		for j, l := range live {
			if k.equal(itemKey(l)) {
				used[j] = true
				item = o.merged(l, w, append(path[:len(path):len(path)], element(w, i)))
				break
			}
		}
		out = append(out, item)
	}
	for j, l := range live {
		if !used[j] {
			out = append(out, l)
		}
	}
	return out
}

func keyed(items []any) bool {
	for _, item := range items {
		if itemKey(item) == nil {
			return false
		}
	}
	return true
}
