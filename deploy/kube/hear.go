package kube

import (
	"context"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const revisionAnnotation = "deployment.kubernetes.io/revision"

// feeds are the watches of a wait: one for each kind and namespace that is
// waited for, and where that makes pods, one for the pods and one for the
// ReplicaSets between.
func (w *wait) feeds() []*feed {
	shelves, places := map[shelf]bool{}, map[string]bool{}
	for _, id := range w.order {
		r := w.roots[id]
		shelves[shelf{r.object.kind, id.Namespace}] = true
		if podTemplate(r.object.body) != nil || id.Kind == "Pod" && id.Group == "" {
			places[id.Namespace] = true
		}
	}
	var out []*feed
	for s := range shelves {
		out = append(out, &feed{what: s.kind.gvr.Resource, selector: partOfLabel + "=" + w.a.set.id,
			open: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return w.c.objects.Resource(s.kind.gvr).Namespace(s.namespace).Watch(ctx, o)
			}})
	}
	for ns := range places {
		selector := w.podSelector(ns)
		out = append(out,
			&feed{what: "pods", selector: selector, open: w.c.typed.watching(podsKind, ns)},
			&feed{what: "replicasets", selector: selector,
				open: w.c.meta.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}).Namespace(ns).Watch})
	}
	return out
}

// warnings are the watches of warnings, opened only when something is not ready
// after a moment: most releases need none.
func (w *wait) warnings() []*feed {
	var out []*feed
	for _, id := range w.order {
		if w.roots[id].state.ready || w.listening[id.Namespace] || id.Namespace == "" {
			continue
		}
		w.listening[id.Namespace] = true
		out = append(out, &feed{what: "events", fields: "type=Warning", open: w.c.typed.watching(eventsKind, id.Namespace)})
	}
	return out
}

// podTemplate is the template of a workload's pods; nil if it makes none.
func podTemplate(u *unstructured.Unstructured) map[string]any {
	if u.GetKind() == "CronJob" {
		t, _, _ := unstructured.NestedMap(u.Object, "spec", "jobTemplate", "spec", "template")
		return t
	}
	t, _, _ := unstructured.NestedMap(u.Object, "spec", "template")
	if _, ok := t["spec"].(map[string]any); !ok {
		return nil
	}
	return t
}

// podSelector are the labels that the pods of all workloads of a namespace have
// in common, so that other pods are not read; "" if they have none.
func (w *wait) podSelector(namespace string) string {
	var common map[string]string
	for _, id := range w.order {
		if id.Namespace != namespace {
			continue
		}
		own := w.roots[id].object.body.GetLabels()
		if t := podTemplate(w.roots[id].object.body); t != nil {
			own, _, _ = unstructured.NestedStringMap(t, "metadata", "labels")
		} else if id.Kind != "Pod" {
			continue
		}
		common = shared(common, own)
	}
	return labels.Set(common).String()
}

// shared are the entries that both have; a nil first map has all.
func shared(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range b {
		if a == nil || a[k] == v {
			out[k] = v
		}
	}
	return out
}

// hear takes in one piece of news.
func (w *wait) hear(n news) {
	if n.reset {
		w.forget(n.feed)
		return
	}
	switch o := n.object.(type) {
	case *unstructured.Unstructured:
		w.hearRoot(o, n.gone)
	case *metav1.PartialObjectMetadata:
		w.hearSet(o, n)
	case *corev1.Pod:
		w.hearPod(o, n)
	case *corev1.Event:
		w.hearWarning(o)
	}
}

// forget drops what a feed told, since it will tell everything again and
// deletions may have been missed. What was learnt of pods by name is kept.
func (w *wait) forget(f *feed) {
	for uid, s := range w.sets {
		if s.feed == f {
			delete(w.sets, uid)
		}
	}
	for _, p := range w.pods {
		if p.feed == f {
			p.feed = nil
		}
	}
	for _, r := range w.roots {
		r.heard = true
	}
}

// touch marks the root that an object is, or belongs to: it has to be looked at.
func (w *wait) touch(uid types.UID) {
	if set, ok := w.sets[uid]; ok {
		uid = set.owner
	}
	if r := w.uids[uid]; r != nil {
		r.heard = true
	}
}

func (w *wait) hearRoot(u *unstructured.Unstructured, gone bool) {
	id := idOf(u)
	r, ok := w.roots[id]
	if !ok || older(u.GetResourceVersion(), w.a.since[id]) {
		return
	}
	r.heard = true
	if gone {
		r.live, r.judged, r.elsewhere, r.state = nil, false, false, state{missing: "was deleted"}
		return
	}
	u.SetManagedFields(nil)
	r.live, r.judged = u, false
	w.uids[u.GetUID()] = r
	w.take(u.GetUID(), r.h)
}

// older reports whether one version of an object came before another. A watch may
// begin with what the server's cache has, which lags behind what was just written;
// that would look as if all were over. The versions of one resource are integers
// that grow (KEP-5504); of any others nothing is known.
func older(version, than string) bool {
	a, errA := strconv.ParseUint(version, 10, 64)
	b, errB := strconv.ParseUint(than, 10, 64)
	return errA == nil && errB == nil && a < b
}

func (w *wait) hearSet(m *metav1.PartialObjectMetadata, n news) {
	owner := metav1.GetControllerOfNoCopy(m)
	w.own(owner, m.UID, n.gone)
	if n.gone {
		delete(w.sets, m.UID)
		return
	}
	if owner != nil {
		w.sets[m.UID] = replicaSet{owner: owner.UID, revision: m.Annotations[revisionAnnotation], feed: n.feed}
	}
}

func (w *wait) hearPod(p *corev1.Pod, n news) {
	w.own(metav1.GetControllerOfNoCopy(p), p.UID, n.gone)
	if n.gone {
		delete(w.pods, p.UID)
		return
	}
	known := w.pods[p.UID]
	if known == nil {
		known = &pod{h: newHistory()}
		w.pods[p.UID] = known
		w.take(p.UID, known.h)
	}
	known.Pod, known.feed = slim(p), n.feed
	known.h.see(p)
}

// own keeps the index of what a controller has.
func (w *wait) own(owner *metav1.OwnerReference, uid types.UID, gone bool) {
	w.touch(uid)
	if owner == nil {
		return
	}
	w.touch(owner.UID)
	if gone {
		delete(w.owned[owner.UID], uid)
		return
	}
	if w.owned[owner.UID] == nil {
		w.owned[owner.UID] = map[types.UID]bool{}
	}
	w.owned[owner.UID][uid] = true
}

// slim drops what is never looked at; a thousand pods are held at once.
func slim(p *corev1.Pod) *corev1.Pod {
	p.ManagedFields, p.Annotations = nil, nil
	return p
}

// take hands an object the warnings that came before it.
func (w *wait) take(uid types.UID, h *history) {
	for _, e := range w.strays[uid] {
		h.warn(e)
	}
	delete(w.strays, uid)
}

func (w *wait) hearWarning(e *corev1.Event) {
	at := e.LastTimestamp.Time
	if at.IsZero() {
		at = e.EventTime.Time
	}
	if e.Series != nil {
		at = e.Series.LastObservedTime.Time
	}
	note := warning{name: e.Name, reason: e.Reason, message: oneLine(e.Message), container: containerOf(e.InvolvedObject.FieldPath), at: at, count: max(e.Count, 1)}
	uid := e.InvolvedObject.UID
	if p, ok := w.pods[uid]; ok {
		p.h.warn(note)
		w.touch(uid)
		if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
			w.touch(owner.UID)
		}
		return
	}
	if r := w.uids[uid]; r != nil {
		// What was refused before this rollout says nothing of it.
		if !at.Before(w.began.Truncate(1e9).Add(-1e9)) || !w.changed(r) {
			r.h.warn(note)
			r.heard = true
		}
		return
	}
	w.strays[uid] = append(w.strays[uid], note)
}

func (w *wait) changed(r *root) bool {
	for _, done := range w.a.Results {
		if done.Object == r.object.id {
			return done.Action != Unchanged
		}
	}
	return true
}

// containerOf is "web" for spec.containers{web}.
func containerOf(path string) string {
	_, rest, ok := strings.Cut(path, "{")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}

// lines are a pod's warnings, oldest first.
func (h *history) lines() []string {
	sort.Slice(h.events, func(i, j int) bool { return h.events[i].at.Before(h.events[j].at) })
	var out []string
	for _, e := range h.events {
		out = append(out, e.reason+": "+e.message)
	}
	return out
}
