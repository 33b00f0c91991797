package kube

import (
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

// ending is a cause that ends the wait, with where it was found.
type ending struct {
	cause
	root *root
	pod  *pod // nil: the root itself
}

func (e *ending) Error() string { return string(e.code) + ": " + e.message }

// glance is how often what is not ready is looked at without any news: some
// causes show only by the time that has passed.
const glance = time.Second

// judge looks at every root of which there is news, or whose time has come. An
// *ending is the error of one that failed for good. again is when to look next.
func (w *wait) judge() (done bool, again time.Duration, err error) {
	done, again = true, glance
	now := time.Now()
	for _, id := range w.order {
		r := w.roots[id]
		if r.live == nil {
			done = false
			continue
		}
		if r.heard || !r.over() && !now.Before(r.due) {
			r.heard = false
			if err := w.look(r, now); err != nil {
				return false, 0, err
			}
		}
		if !r.over() {
			done = false
			again = min(again, r.due.Sub(now))
		}
	}
	return done, max(again, 10*time.Millisecond), nil
}

// over reports whether there is nothing to wait for in a root, as it was last seen.
func (r *root) over() bool { return r.state.ready || r.elsewhere }

// look judges one root. The error is an *ending if it failed for good.
func (w *wait) look(r *root, now time.Time) (err error) {
	if !r.judged {
		if r.state, err = judge(r.live); err != nil {
			return err
		}
		r.judged = true
	}
	r.elsewhere = r.object.id.Kind == "PersistentVolumeClaim" && r.state.fault == nil && w.waitsForPod(r)
	if r.over() {
		return nil
	}
	worst, left := w.worst(r, now)
	if worst != nil {
		return worst
	}
	if r.due = now.Add(glance); left > 0 {
		r.due = now.Add(min(glance, left))
	}
	return nil
}

// worst is the cause that ends the wait for a root, nil if there is none yet; then
// left is when the first of its causes will, 0 for never.
func (w *wait) worst(r *root, now time.Time) (*ending, time.Duration) {
	var left time.Duration
	sooner := func(d time.Duration) {
		if d > 0 && (left == 0 || d < left) {
			left = d
		}
	}
	for _, p := range w.newPods(r) {
		found, ok := diagnose(p.Pod, p.h, now)
		if !ok {
			p.h.calm()
			continue
		}
		if r.object.id.Kind == "Job" && found.code == release.CodeCrashLoop {
			found.patience = onlyByLimit // its backoffLimit says when it has failed
		}
		ends, d := p.h.ends(found, now)
		if ends {
			return &ending{found, r, p}, 0
		}
		sooner(d)
	}
	fault := r.state.fault
	if fault == nil {
		fault = w.refusedPods(r)
	}
	if fault == nil {
		r.h.calm()
		return nil, left
	}
	if w.changed(r) && !fault.at.IsZero() && fault.at.Before(w.began) && fault.patience == atOnce {
		// A controller takes back what it said of the revision before only some time after the change.
		fault.patience = lasting(staleSpan)
	}
	ends, d := r.h.ends(*fault, now)
	if !ends {
		sooner(d)
		return nil, left
	}
	return w.blame(r, fault, now), 0
}

// blame adds to a controller's verdict what is known of its pods.
func (w *wait) blame(r *root, fault *cause, now time.Time) *ending {
	for _, p := range w.newPods(r) {
		found, ok := diagnose(p.Pod, p.h, now)
		if !ok || fault.code != release.CodeDeadlineExceeded && fault.code != release.CodeJobFailed {
			continue
		}
		found.message = fault.message + "; " + found.message
		found.code = fault.code
		return &ending{found, r, p}
	}
	return &ending{*fault, r, nil}
}

// refusedPods finds in the warnings why a controller that keeps no condition for
// it could not make pods.
func (w *wait) refusedPods(r *root) *cause {
	if event, ok := r.h.last("FailedCreate"); ok && len(w.newPods(r)) == 0 {
		return ofRefusedPods(event.message)
	}
	return nil
}

// waitsForPod reports whether a claim gets its volume only when a pod uses it:
// then the pod is what is waited for.
func (w *wait) waitsForPod(r *root) bool {
	_, ok := r.h.last("WaitForFirstConsumer", "WaitForPodScheduled")
	return ok
}

// newPods are the pods of a root's present revision, by name.
func (w *wait) newPods(r *root) []*pod {
	var out []*pod
	take := func(uid types.UID) {
		if p := w.pods[uid]; p != nil && w.isNew(r, p) {
			out = append(out, p)
		}
	}
	uid := r.live.GetUID()
	take(uid)
	for child := range w.owned[uid] {
		take(child)
		for grandchild := range w.owned[child] {
			take(grandchild)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (w *wait) isNew(r *root, p *pod) bool {
	live := r.live
	if p.feed == nil {
		return false // its watch has started again, and has not told of it yet
	}
	if p.UID == live.GetUID() {
		return true
	}
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return false
	}
	observed, found, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	if found && observed < live.GetGeneration() {
		return false
	}
	switch r.object.id.Kind {
	case "Deployment":
		set, ok := w.sets[owner.UID]
		return ok && set.owner == live.GetUID() && set.revision == live.GetAnnotations()[revisionAnnotation]
	case "StatefulSet":
		revision, _, _ := unstructured.NestedString(live.Object, "status", "updateRevision")
		return owner.UID == live.GetUID() && p.Labels["controller-revision-hash"] == revision
	case "DaemonSet":
		generation := live.GetAnnotations()["deprecated.daemonset.template.generation"]
		return owner.UID == live.GetUID() && p.Labels["pod-template-generation"] == generation
	}
	return owner.UID == live.GetUID()
}
