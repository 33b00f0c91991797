package object

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// CRD is the kind that a CustomResourceDefinition defines.
type CRD struct {
	GroupKind  schema.GroupKind
	Resource   string
	Namespaced bool
	Versions   []string
}

// CRDOf reads a CustomResourceDefinition; false: the object is none.
func CRDOf(u *unstructured.Unstructured) (CRD, bool) {
	if u.GetKind() != "CustomResourceDefinition" {
		return CRD{}, false
	}
	text := func(path ...string) string {
		s, _, _ := unstructured.NestedString(u.Object, append([]string{"spec"}, path...)...)
		return s
	}
	d := CRD{
		GroupKind: schema.GroupKind{Group: text("group"), Kind: text("names", "kind")},
		Resource:  text("names", "plural"), Namespaced: text("scope") == "Namespaced",
	}
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok {
			if name, _ := m["name"].(string); name != "" {
				d.Versions = append(d.Versions, name)
			}
		}
	}
	return d, true
}
