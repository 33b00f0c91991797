package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// patched are the pods of controllers that a person has changed: their controller
// counts them as its own, and never puts them right.
func (r running) patched() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range r.pods {
		if len(p.ManagedFields) > 0 && p.DeletionTimestamp == nil && metav1.GetControllerOfNoCopy(p) != nil && r.workloadOf(p) != nil {
			out = append(out, p)
		}
	}
	return out
}

// workloadOf is the live workload that a pod is one of; nil if it is none of the role's.
func (r running) workloadOf(p *corev1.Pod) *unstructured.Unstructured {
	for _, u := range r.workloads {
		if object.PodsOf(u)(p) {
			return u
		}
	}
	return nil
}

// ready is how many pods of the role are ready, whatever they run.
func (r running) ready() int {
	n := 0
	for _, p := range r.pods {
		if p.DeletionTimestamp == nil && object.PodReady(p) && r.workloadOf(p) != nil {
			n++
		}
	}
	return n
}

// podChanges are the pods that a Switch would replace.
func podChanges(role release.Role, r running) []deploy.Change {
	var out []deploy.Change
	for _, p := range r.patched() {
		var template map[string]any
		for _, o := range r.objects {
			if o.ID == object.IDOf(r.workloadOf(p)) {
				template = object.PodTemplate(o.Body)
			}
		}
		change := deploy.Change{Role: role.Name, Object: "Pod " + p.Namespace + "/" + p.Name, Action: release.ActionReplaced}
		if pod, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p); err == nil {
			change.Fields = compare.PatchedFields(p.ManagedFields, pod, template)
		}
		out = append(out, change)
	}
	return out
}

// replacePatched deletes the pods that a person has changed, of workloads whose pods the
// apply left as they were, one after the other: the controller makes new ones of them.
// It returns what then runs of those workloads.
func (t *Target) replacePatched(ctx context.Context, role release.Role, objects []*object.Object, applied apply.Applied) (running, error) {
	r := running{objects: objects}
	for _, result := range applied.Results {
		if result.SamePods && result.Live != nil && result.Object.Serves() {
			r.workloads = append(r.workloads, result.Live)
		}
	}
	var err error
	if r.pods, err = podsOf(ctx, t.client, selectedBy(r.workloads)); err != nil {
		return r, observing(role, err)
	}
	desired := 0
	for _, u := range r.workloads {
		desired += object.Replicas(u)
	}
	ready := min(r.ready(), desired)
	for _, p := range r.patched() {
		id := object.ID{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
		t.report(role, release.PhaseWait, release.MarkNote, fmt.Sprintf("%s was changed by %s: it is replaced", id, p.ManagedFields[0].Manager))
		if err := t.client.Delete(ctx, client.Pods, id, p.UID); err != nil {
			return r, fmt.Errorf("replace %s: %w", id, err)
		}
		isBack := func(r running) bool {
			return r.ready() >= ready && !slices.ContainsFunc(r.pods, func(now *corev1.Pod) bool { return now.UID == p.UID })
		}
		if r, err = t.watchPods(ctx, r, p.Namespace, isBack); err != nil {
			return r, fmt.Errorf("replace %s: %w", id, err)
		}
	}
	return r, nil
}

// watchPods follows the pods of a namespace until a condition holds for what runs.
func (t *Target) watchPods(ctx context.Context, r running, namespace string, holds func(running) bool) (running, error) {
	others := slices.DeleteFunc(slices.Clone(r.pods), func(p *corev1.Pod) bool { return p.Namespace == namespace })
	var patches compare.Patches
	for ctx.Err() == nil {
		w, err := t.client.WatchTyped(client.Pods, namespace)(ctx, metav1.ListOptions{})
		if err != nil {
			return r, err
		}
		there := map[string]*corev1.Pod{} // a watch from the beginning tells of all pods first
		for event := range w.ResultChan() {
			p, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			p.ManagedFields = patches.Of(p.ManagedFields)
			if there[p.Name] = p; event.Type == watch.Deleted {
				delete(there, p.Name)
			}
			if r.pods = slices.AppendSeq(slices.Clone(others), maps.Values(there)); holds(r) {
				w.Stop()
				return r, nil
			}
		}
	}
	return r, context.Cause(ctx)
}
