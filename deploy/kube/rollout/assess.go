package rollout

import (
	"cmp"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// fatal is a cause that ends the rollout, with the object in which it was found.
type fatal struct {
	diagnose.Cause
	tracked *tracked
	pod     *pod // nil: the tracked object itself
}

func (f *fatal) Error() string { return string(f.Code) + ": " + f.Message }

// assessInterval is how often what is not ready is assessed although nothing changes:
// some causes show only by the time that has passed.
const assessInterval = time.Second

// assessAll assesses every tracked object that has changed, or is due. The error is a
// *fatal if one has failed for good. again is when to assess next.
func (r *run) assessAll() (done bool, again time.Duration, err error) {
	done, again = true, assessInterval
	now := time.Now()
	for _, id := range r.order {
		t := r.tracked[id]
		if t.Live == nil {
			done = false
			continue
		}
		if t.dirty || !t.done() && !now.Before(t.due) {
			t.dirty = false
			if err := r.assess(t, now); err != nil {
				return false, 0, err
			}
		}
		if !t.done() {
			done = false
			again = min(again, t.due.Sub(now))
		}
	}
	return done, max(again, 10*time.Millisecond), nil
}

// done reports whether there is nothing to wait for in an object, as it was last
// assessed.
func (t *tracked) done() bool { return t.status.Ready || t.delegated }

// assess reads the status of one object and the causes of its pods. The error is a
// *fatal if it has failed for good.
func (r *run) assess(t *tracked, now time.Time) (err error) {
	if !t.statusRead {
		if t.status, err = diagnose.Workload(t.Live); err != nil {
			return err
		}
		t.statusRead = true
	}
	if name := r.outdatedContainer(t, now); name != "" && t.status.Ready {
		t.status.Ready, t.status.Serving, t.status.Missing = false, 0, "container "+name+" still runs its former image"
		t.statusRead = false
	}
	t.delegated = t.ID.Kind == "PersistentVolumeClaim" && t.status.Cause == nil && waitsForPod(t)
	if t.done() {
		return nil
	}
	ending, left := r.fatalCause(t, now)
	if ending != nil {
		return ending
	}
	if t.due = now.Add(assessInterval); left > 0 {
		t.due = now.Add(min(assessInterval, left))
	}
	return nil
}

// fatalCause is the cause that ends the rollout of an object, nil if none does yet; then
// left is what remains of the shortest grace, 0 if none runs.
func (r *run) fatalCause(t *tracked, now time.Time) (*fatal, time.Duration) {
	var left time.Duration
	sooner := func(d time.Duration) {
		if d > 0 && (left == 0 || d < left) {
			left = d
		}
	}
	for _, p := range r.newPods(t) {
		found, ok := diagnose.Pod(p.Pod, p.history)
		if !ok {
			p.history.Clear()
			continue
		}
		if t.ID.Kind == "Job" && found.Code == release.CodeCrashLoop {
			found.Grace = diagnose.AtTimeout // to try again is what a Job asks for: its backoffLimit says when it has failed
		}
		ends, d := p.history.Ends(found, now)
		if ends {
			return &fatal{found, t, p}, 0
		}
		sooner(d)
	}
	given := r.controllerCause(t)
	if given == nil {
		t.history.Clear()
		return nil, left
	}
	ends, d := t.history.Ends(*given, now)
	if !ends {
		sooner(d)
		return nil, left
	}
	return r.withPod(t, given), 0
}

// controllerCause is what the controller of an object gives as the cause why it does not
// get ready; nil if it gives none, or speaks of the revision before.
func (r *run) controllerCause(t *tracked) *diagnose.Cause {
	said := cmp.Or(t.status.Cause, r.refusedPods(t))
	if said == nil || !t.Changed {
		return said
	}
	if r.isOfAnotherReplicaSet(t, said) {
		return nil
	}
	given := *said
	if given.Code == release.CodeDeadlineExceeded {
		// The controller counts from the last progress, which may be that of the revision
		// before: what it says is true of this one only when the time has passed since the apply.
		if seconds, found, _ := unstructured.NestedInt64(t.Live.Object, "spec", "progressDeadlineSeconds"); found {
			given.From = r.began.Add(time.Duration(seconds) * time.Second)
			return &given
		}
	}
	if !given.At.IsZero() && given.At.Before(r.began) && given.Grace == diagnose.AtOnce {
		given.Grace = diagnose.StaleGrace
	}
	return &given
}

// isOfAnotherReplicaSet reports whether a cause names the pods of another ReplicaSet of
// a Deployment than that of its present revision.
func (r *run) isOfAnotherReplicaSet(t *tracked, c *diagnose.Cause) bool {
	if t.ID.Kind != "Deployment" {
		return false
	}
	for _, set := range r.replicaSets {
		if set.controller == t.Live.GetUID() && set.revision != t.Live.GetAnnotations()[object.RevisionAnnotation] && strings.Contains(c.Message, `"`+set.name+"-") {
			return true
		}
	}
	return false
}

// withPod adds what is known of a pod to a cause that its controller gave, if that
// tells no more than that time is over.
func (r *run) withPod(t *tracked, given *diagnose.Cause) *fatal {
	for _, p := range r.newPods(t) {
		found, ok := diagnose.Pod(p.Pod, p.history)
		if !ok || given.Code != release.CodeDeadlineExceeded && given.Code != release.CodeJobFailed {
			continue
		}
		found.Message = given.Message + "; " + found.Message
		found.Code = given.Code
		return &fatal{found, t, p}
	}
	return &fatal{*given, t, nil}
}

// refusedPods finds in the warnings why a controller that keeps no condition for it
// could not create pods; nil if nothing says so.
func (r *run) refusedPods(t *tracked) *diagnose.Cause {
	event, ok := t.history.Last("FailedCreate")
	if !ok || len(r.newPods(t)) > 0 {
		return nil
	}
	c := diagnose.RefusedPods(event.Message)
	c.At = event.At
	return c
}

// waitsForPod reports whether a volume claim is bound only when a pod uses it: then
// the pod is what is waited for.
func waitsForPod(t *tracked) bool {
	_, ok := t.history.Last("WaitForFirstConsumer", "WaitForPodScheduled")
	return ok
}

// newPods are the pods of an object's present revision, by name.
func (r *run) newPods(t *tracked) []*pod {
	var out []*pod
	add := func(uid types.UID) {
		if p := r.pods[uid]; p != nil && r.isNew(t, p) {
			out = append(out, p)
		}
	}
	uid := t.Live.GetUID()
	add(uid)
	for child := range r.controlled[uid] {
		add(child)
		for grandchild := range r.controlled[child] {
			add(grandchild)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// isNew reports whether a pod is of an object's present revision.
func (r *run) isNew(t *tracked, p *pod) bool {
	live := t.Live
	if p.from == nil {
		return false
	}
	if p.UID == live.GetUID() {
		return true
	}
	controller := metav1.GetControllerOfNoCopy(p)
	if controller == nil {
		return false
	}
	observed, found, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	if found && observed < live.GetGeneration() {
		return false
	}
	switch t.ID.Kind {
	case "Deployment":
		set, ok := r.replicaSets[controller.UID]
		return ok && set.controller == live.GetUID() && set.revision == live.GetAnnotations()[object.RevisionAnnotation]
	case "StatefulSet":
		revision, _, _ := unstructured.NestedString(live.Object, "status", "updateRevision")
		return controller.UID == live.GetUID() && p.Labels["controller-revision-hash"] == revision
	case "DaemonSet":
		generation := live.GetAnnotations()["deprecated.daemonset.template.generation"]
		return controller.UID == live.GetUID() && p.Labels["pod-template-generation"] == generation
	}
	return controller.UID == live.GetUID()
}
