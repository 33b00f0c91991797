package apply

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// defaultReplicas is what the API server fills in for a workload that states none.
const defaultReplicas = 1

// stateReplicas has a workload ask for the API server's default of one pod, where the
// release leaves the number open and the live one was scaled to none. Whoever scales
// keeps every other number, but a role without a pod is no role that runs. The scale
// subresource leaves a zero without a field manager, so that no owner tells who wanted
// it; an autoscaler that goes down to none is asked for instead.
func (r *reader) stateReplicas(ctx context.Context, objects []*object.Object) error {
	for _, o := range objects {
		live := r.into[o.ID].Live
		if live == nil {
			live = r.others[o.ID].Live
		}
		if !scaledToNone(o.Body, live) {
			continue
		}
		asleep, err := r.mayBeAsleep(ctx, o.ID)
		if err != nil {
			return err
		}
		if asleep {
			continue
		}
		if err := unstructured.SetNestedField(o.Body.Object, int64(defaultReplicas), "spec", "replicas"); err != nil {
			return fmt.Errorf("%s: %w", o.ID, err)
		}
	}
	return nil
}

// scaledToNone reports whether a workload states no replicas and its live object has none.
func scaledToNone(want, live *unstructured.Unstructured) bool {
	if live == nil || !object.LeavesReplicasOpen(want) {
		return false
	}
	n, set, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
	return set && n == 0
}

// mayBeAsleep reports whether an autoscaler of a live object goes down to no pod: one
// whose minimum is none, or one that belongs to another, as KEDA's does, which scales
// to none by itself.
func (r *reader) mayBeAsleep(ctx context.Context, id object.ID) (bool, error) {
	autoscalers, err := r.c.List(ctx, client.Autoscalers, id.Namespace, "")
	if err != nil {
		return false, fmt.Errorf("find the autoscaler of %s: %w", id, err)
	}
	return slices.ContainsFunc(autoscalers, func(u unstructured.Unstructured) bool {
		least, set, _ := unstructured.NestedInt64(u.Object, "spec", "minReplicas")
		return scales(&u, id) && (set && least == 0 || len(u.GetOwnerReferences()) > 0)
	}), nil
}
