package rollout

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// deleteBlockingPods deletes the pods of StatefulSets that are of another revision than
// the one that is wanted, and not ready. The rolling update would replace them, but
// first waits until they are ready, so that a broken revision could never be replaced:
// Kubernetes documents this as a step to take by hand.
func (r *run) deleteBlockingPods(ctx context.Context) {
	for _, id := range r.order {
		t := r.tracked[id]
		if t.Live == nil || t.done() || id.Kind != "StatefulSet" || id.Group != appsv1.GroupName {
			continue
		}
		for _, p := range r.blockingPods(t) {
			r.deleted[p.UID] = true
			e := release.Event{Phase: release.PhaseWait, Mark: release.MarkNote, Role: r.o.Role,
				Message: fmt.Sprintf("Pod %s/%s of another revision is not ready and was deleted, so that the update can go on", p.Namespace, p.Name)}
			id := object.ID{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
			if err := r.c.Delete(ctx, client.Pods, id, p.UID); err != nil {
				e.Message = fmt.Sprintf("%s keeps the update from going on and could not be deleted: %s", id, release.OneLine(err.Error()))
			}
			r.o.Progress.Report(e)
		}
	}
}

// blockingPods are the pods that keep a StatefulSet's update from going on.
func (r *run) blockingPods(t *tracked) []*pod {
	set, err := object.As[appsv1.StatefulSet](t.Live)
	if err != nil {
		return nil
	}
	first := 0
	if u := set.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		first = int(*u.Partition)
	}
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType || set.Status.ObservedGeneration < set.Generation {
		return nil
	}
	var out []*pod
	for uid := range r.controlled[set.UID] {
		p := r.pods[uid]
		if p == nil || p.from == nil || r.deleted[uid] || p.DeletionTimestamp != nil || object.PodReady(p.Pod) {
			continue
		}
		if p.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision && ordinal(p.Name) >= first {
			out = append(out, p)
		}
	}
	return out
}

// ordinal is the number at the end of the name of a StatefulSet's pod.
func ordinal(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndex(name, "-")+1:])
	if err != nil {
		return 0
	}
	return n
}
