package kube

import (
	"math"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// outdated is how many pods of a workload may be of an earlier revision, by what
// its controller says: all of them until it has seen the newest one. Their digest
// can be the right one, and still they are not what was released; also where the
// controller is told to leave them as they are (OnDelete, a partition).
func outdated(u *unstructured.Unstructured) int {
	seen, reported, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if reported && seen < u.GetGeneration() {
		return math.MaxInt
	}
	var all, updated string
	switch u.GetKind() {
	case "Deployment":
		all, updated = "replicas", "updatedReplicas"
	case "DaemonSet":
		all, updated = "currentNumberScheduled", "updatedNumberScheduled"
	case "StatefulSet":
		all, updated = "replicas", "updatedReplicas"
	default:
		return 0
	}
	there, _, _ := unstructured.NestedInt64(u.Object, "status", all)
	current, _, _ := unstructured.NestedInt64(u.Object, "status", updated)
	return int(max(0, there-current))
}
