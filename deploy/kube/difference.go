package kube

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// differences are the lines by which a person sees what would change, by field.
// The server's own fields and shipit's bookkeeping are left out.
func differences(live, next *unstructured.Unstructured) []string {
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
	var lines []string
	for _, p := range paths {
		old, had := before[p]
		now, has := after[p]
		if had && has && old == now {
			continue
		}
		if secret && (strings.HasPrefix(p, "data.") || strings.HasPrefix(p, "stringData.")) {
			old, now = "(hidden)", "(hidden, changed)"
		}
		if had {
			lines = append(lines, "- "+p+": "+old)
		}
		if has {
			lines = append(lines, "+ "+p+": "+now)
		}
	}
	return lines
}

var ownFields = []fieldpath.Path{
	fieldpath.MakePathOrDie("status"),
	fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
	fieldpath.MakePathOrDie("metadata", "generation"),
	fieldpath.MakePathOrDie("metadata", "uid"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"),
	fieldpath.MakePathOrDie("metadata", "annotations", appliedAnnotation),
	fieldpath.MakePathOrDie("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"),
	fieldpath.MakePathOrDie("metadata", "annotations", "deployment.kubernetes.io/revision"),
	fieldpath.MakePathOrDie("metadata", "labels", partOfLabel),
}

// flatten is every scalar of an object by its readable path.
func flatten(u *unstructured.Unstructured) map[string]string {
	copied := u.DeepCopy()
	for _, p := range ownFields {
		drop(copied.Object, p)
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
		case string:
			out[readable(p)] = quoted(x)
		default:
			text, err := json.Marshal(x)
			if err != nil {
				text = []byte(fmt.Sprint(x))
			}
			out[readable(p)] = string(text)
		}
		return true
	})
	return out
}

var plain = regexp.MustCompile(`^[\w./:@+-]+$`)

func quoted(s string) string {
	if plain.MatchString(s) {
		return s
	}
	text, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(text)
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

// sorted are the ids of a set of members in a stable order.
func sorted(members map[ID]member) []ID {
	ids := make([]ID, 0, len(members))
	for id := range members {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].String() < ids[j].String() })
	return ids
}
