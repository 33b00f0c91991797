package object

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// templated are the groups whose objects make pods of a template.
var templated = map[string]bool{"apps": true, "batch": true}

// SlimWorkload is a live object without what no rollout reads of it: managed fields, and
// of the template of a workload all but the names and images of its containers. nil stays
// nil. It shares the rest.
func SlimWorkload(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = withoutManagedFields(u)
	if u == nil || !templated[u.GroupVersionKind().Group] {
		return u
	}
	spec, _ := u.Object["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	pod, ok := template["spec"].(map[string]any)
	if !ok {
		return u
	}
	var containers []any
	for _, c := range mapsOf(pod["containers"]) {
		containers = append(containers, map[string]any{"name": c["name"], "image": c["image"]})
	}
	out, own := maps.Clone(u.Object), maps.Clone(spec)
	own["template"] = map[string]any{"spec": map[string]any{"containers": containers}}
	out["spec"] = own
	return &unstructured.Unstructured{Object: out}
}
