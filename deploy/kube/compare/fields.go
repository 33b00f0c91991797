package compare

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// Fields are those in which an object as it is differs from the one as it will be.
// Values of Secrets are hidden. The server's own fields and shipit's metadata are left
// out.
func Fields(live, next *unstructured.Unstructured) []release.FieldChange {
	before, after := flatten(live), flatten(next)
	paths := make([]string, 0, len(before)+len(after))
	for p := range before {
		paths = append(paths, p)
	}
	for p := range after {
		if _, ok := before[p]; !ok {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	secret := next.GetKind() == "Secret"
	var fields []release.FieldChange
	for _, p := range paths {
		old, had := before[p]
		now, has := after[p]
		if had && has && old == now {
			continue
		}
		if secret && (strings.HasPrefix(p, "data.") || strings.HasPrefix(p, "stringData.")) {
			old, now = "(hidden)", "(hidden, changed)"
		}
		change := release.FieldChange{Path: p}
		if had {
			change.Live = old
		}
		if has {
			change.Wanted = now
		}
		fields = append(fields, change)
	}
	return fields
}

// bookkeeping are the fields that the server and shipit write for themselves.
var bookkeeping = []fieldpath.Path{
	fieldpath.MakePathOrDie("status"),
	fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
	fieldpath.MakePathOrDie("metadata", "generation"),
	fieldpath.MakePathOrDie("metadata", "uid"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"),
	fieldpath.MakePathOrDie("metadata", "annotations", object.AppliedAnnotation),
	fieldpath.MakePathOrDie("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"),
	fieldpath.MakePathOrDie("metadata", "annotations", object.RevisionAnnotation),
	fieldpath.MakePathOrDie("metadata", "labels", object.PartOfLabel),
}

// flatten is every scalar of an object by its readable path.
func flatten(u *unstructured.Unstructured) map[string]string {
	copied := u.DeepCopy()
	for _, p := range bookkeeping {
		remove(copied.Object, p)
	}
	out := map[string]string{}
	walk(copied.Object, nil, func(p fieldpath.Path) bool {
		v, _ := lookup(copied.Object, p)
		switch x := v.(type) {
		case map[string]any:
			if len(x) == 0 {
				out[readable(p)] = "{}"
			}
		case []any:
			if len(x) == 0 {
				out[readable(p)] = "[]"
			}
		default:
			out[readable(p)] = shown(x)
		}
		return true
	})
	return out
}

// shown is a value as people read it.
func shown(v any) string {
	if s, ok := v.(string); ok {
		return quoted(s)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// needsNoQuotes is a text that reads the same with and without quotes.
var needsNoQuotes = pattern.Lazy(`^[\w./:@+-]+$`)

func quoted(s string) string {
	if needsNoQuotes().MatchString(s) {
		return s
	}
	text, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(text)
}
