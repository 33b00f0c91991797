package kube

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/joelhooks/shipit/release"
)

// unstick deletes the pods of StatefulSets that are of another revision than
// the one that is wanted, and not ready. The rolling update would replace them,
// but first waits until they are ready, so that a broken revision could never
// be left: Kubernetes documents this as a step to take by hand.
func (w *wait) unstick(ctx context.Context) {
	for _, id := range w.order {
		r := w.roots[id]
		if r.live == nil || r.over() || id.Kind != "StatefulSet" || id.Group != "apps" {
			continue
		}
		for _, p := range w.stuck(r) {
			w.freed[p.UID] = true
			e := release.Event{Phase: release.PhaseWait, Mark: release.MarkNote, Role: w.role.Name,
				Message: fmt.Sprintf("Pod %s/%s of another revision is not ready and was deleted, so that the update can go on", p.Namespace, p.Name)}
			pod := ID{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
			if err := w.c.remove(ctx, podsKind, pod, p.UID); err != nil {
				e.Message = fmt.Sprintf("%s keeps the update from going on and could not be deleted: %s", pod, oneLine(err.Error()))
			}
			w.o.Progress.Report(e)
		}
	}
}

// stuck are the pods that keep a StatefulSet's update from going on.
func (w *wait) stuck(r *root) []*pod {
	var set appsv1.StatefulSet
	if _, err := typed(r.live, func(s *appsv1.StatefulSet) state { set = *s; return state{} }); err != nil {
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
	for uid := range w.owned[set.UID] {
		p := w.pods[uid]
		if p == nil || p.feed == nil || w.freed[uid] || p.DeletionTimestamp != nil || podReady(p.Pod) {
			continue
		}
		if p.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision && ordinal(p.Name) >= first {
			out = append(out, p)
		}
	}
	return out
}

// ordinal is the number at the end of a StatefulSet's pod.
func ordinal(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndex(name, "-")+1:])
	if err != nil {
		return 0
	}
	return n
}
