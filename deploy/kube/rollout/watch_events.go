package rollout

import (
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// handle brings what is known up to date with one watch event.
func (r *run) handle(e watchEvent) {
	if e.resync {
		r.resync(e.from)
		return
	}
	switch o := e.object.(type) {
	case *unstructured.Unstructured:
		r.handleObject(o, e.deleted)
	case *metav1.PartialObjectMetadata:
		r.handleReplicaSet(o, e)
	case *corev1.Pod:
		r.handlePod(o, e)
	case *corev1.Event:
		r.handleWarning(o)
	}
}

// resync drops what a watch has told, since it will tell everything again and
// deletions may have been missed. The histories of pods are kept.
func (r *run) resync(w *watcher) {
	for uid, s := range r.replicaSets {
		if s.from == w {
			delete(r.replicaSets, uid)
		}
	}
	for _, p := range r.pods {
		if p.from == w {
			p.from = nil
		}
	}
	for _, t := range r.tracked {
		t.dirty = true
	}
}

// markDirty marks the tracked object that an object is or belongs to: it has to be
// assessed.
func (r *run) markDirty(uid types.UID) {
	if set, ok := r.replicaSets[uid]; ok {
		uid = set.controller
	}
	if t := r.byUID[uid]; t != nil {
		t.dirty = true
	}
}

func (r *run) handleObject(u *unstructured.Unstructured, deleted bool) {
	t, ok := r.tracked[object.IDOf(u)]
	if !ok || older(u.GetResourceVersion(), t.Version) {
		return
	}
	t.dirty = true
	if hasRun(u) {
		u.SetDeletionTimestamp(nil)
		deleted = false
	}
	if deleted {
		t.Live, t.statusRead, t.delegated, t.status = nil, false, false, diagnose.Status{Missing: "was deleted"}
		return
	}
	t.Live, t.statusRead = object.SlimWorkload(u), false
	r.byUID[u.GetUID()] = t
	r.addEarlyWarnings(u.GetUID(), t.history)
}

// hasRun reports whether an object is a Job that has completed and that its TTL
// deletes: that it goes is no fault.
func hasRun(u *unstructured.Unstructured) bool {
	_, ttl, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "ttlSecondsAfterFinished")
	return ttl && u.GetKind() == "Job" && object.Condition(u, string(batchv1.JobComplete)) == string(corev1.ConditionTrue)
}

// older reports whether one version of an object came before another. A watch may
// begin with what the server's cache has, which lags behind what was just written;
// that would look as if the rollout were over. The versions of one resource are
// integers that grow (KEP-5504); of any others nothing is known.
func older(version, than string) bool {
	a, errA := strconv.ParseUint(version, 10, 64)
	b, errB := strconv.ParseUint(than, 10, 64)
	return errA == nil && errB == nil && a < b
}

func (r *run) handleReplicaSet(m *metav1.PartialObjectMetadata, e watchEvent) {
	controller := metav1.GetControllerOfNoCopy(m)
	r.index(controller, m.UID, e.deleted)
	if e.deleted {
		delete(r.replicaSets, m.UID)
		return
	}
	if controller != nil {
		r.replicaSets[m.UID] = replicaSet{name: m.Name, controller: controller.UID, revision: m.Annotations[object.RevisionAnnotation], from: e.from}
	}
}

func (r *run) handlePod(p *corev1.Pod, e watchEvent) {
	r.index(metav1.GetControllerOfNoCopy(p), p.UID, e.deleted)
	if e.deleted {
		delete(r.pods, p.UID)
		return
	}
	known := r.pods[p.UID]
	if known == nil {
		known = &pod{history: diagnose.NewHistory()}
		r.pods[p.UID] = known
		r.addEarlyWarnings(p.UID, known.history)
	}
	p.ManagedFields = nil // never read
	r.slim.Slim(p)
	known.Pod, known.from = p, e.from
	known.history.Observe(p)
}

// index keeps track of what a controller controls.
func (r *run) index(controller *metav1.OwnerReference, uid types.UID, deleted bool) {
	r.markDirty(uid)
	if controller == nil {
		return
	}
	r.markDirty(controller.UID)
	if deleted {
		delete(r.controlled[controller.UID], uid)
		return
	}
	if r.controlled[controller.UID] == nil {
		r.controlled[controller.UID] = map[types.UID]bool{}
	}
	r.controlled[controller.UID][uid] = true
}

// addEarlyWarnings gives an object's history the warnings that came before the object
// was known.
func (r *run) addEarlyWarnings(uid types.UID, h *diagnose.History) {
	for _, w := range r.earlyWarnings[uid] {
		h.Warn(w)
	}
	delete(r.earlyWarnings, uid)
}

// handleWarning adds an event of type Warning to the history of the pod or tracked
// object that it is about.
func (r *run) handleWarning(e *corev1.Event) {
	at := e.LastTimestamp.Time
	if at.IsZero() {
		at = e.EventTime.Time
	}
	if e.Series != nil {
		at = e.Series.LastObservedTime.Time
	}
	warning := diagnose.Warning{Name: e.Name, Reason: e.Reason, Message: release.OneLine(e.Message), Container: containerIn(e.InvolvedObject.FieldPath), At: at}
	uid := e.InvolvedObject.UID
	if p, ok := r.pods[uid]; ok {
		p.history.Warn(warning)
		r.markDirty(uid)
		if controller := metav1.GetControllerOfNoCopy(p); controller != nil {
			r.markDirty(controller.UID)
		}
		return
	}
	if t := r.byUID[uid]; t != nil {
		// Of a changed object, a warning from before the rollout is about the revision before.
		if !t.Changed || !at.Before(r.began.Truncate(time.Second).Add(-time.Second)) {
			t.history.Warn(warning)
			t.dirty = true
		}
		return
	}
	r.earlyWarnings[uid] = append(r.earlyWarnings[uid], warning)
}

// containerIn is "web" for spec.containers{web}.
func containerIn(path string) string {
	_, rest, ok := strings.Cut(path, "{")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}
