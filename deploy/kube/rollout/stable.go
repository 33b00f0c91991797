package rollout

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// stability is what is known of how long everything has been ready.
type stability struct {
	since    time.Time                      // since when everything is ready; zero: something is not
	restarts map[types.UID]map[string]int32 // by pod and container, when everything was ready for the first time
}

// stays reports whether everything has been ready for the stable span. A pod that is
// ready may still crash, or be killed by its liveness probe, a moment later. again is
// when to assess although nothing changes.
func (r *run) stays(done bool, again time.Duration, now time.Time) (bool, time.Duration) {
	if !done {
		r.stable.since = time.Time{}
		return false, again
	}
	if r.stable.since.IsZero() {
		r.stable.since = now
	}
	r.noteRestarts()
	left := r.stable.since.Add(r.o.Stable).Sub(now)
	if left <= 0 {
		return true, again
	}
	return false, min(again, left)
}

// noteRestarts keeps how often the containers of the pods that serve were restarted on
// their way up: that may have been because something else was not there yet.
func (r *run) noteRestarts() {
	if r.stable.restarts == nil {
		r.stable.restarts = map[types.UID]map[string]int32{}
	}
	for _, p := range r.servingPods() {
		if r.stable.restarts[p.UID] != nil || !object.PodReady(p.Pod) { // its watch may be behind that of its controller
			continue
		}
		known := map[string]int32{}
		for _, s := range statusesOf(p.Pod) {
			known[s.Name] = s.RestartCount
		}
		r.stable.restarts[p.UID] = known
	}
}

// restarted is the failure of a container that ended after everything was ready; nil
// if none did.
func (r *run) restarted(ctx context.Context) *fatal {
	if len(r.stable.restarts) == 0 {
		return nil
	}
	for _, p := range r.servingPods() {
		known := r.stable.restarts[p.UID]
		for _, s := range statusesOf(p.Pod) {
			if before, counted := known[s.Name]; !counted || s.RestartCount <= before && s.State.Terminated == nil {
				continue
			}
			podWarnings(ctx, r.c, p) // they tell whether a probe killed it
			if c, ok := diagnose.LastExit(p.Pod, s.Name, p.history); ok {
				c.Message += ", after it was ready"
				return &fatal{c, p.of, p}
			}
		}
	}
	return nil
}

// servingPods are the pods of the present revisions of what serves.
func (r *run) servingPods() []*pod {
	var out []*pod
	for _, id := range r.order {
		if t := r.tracked[id]; t.Live != nil && t.Serves() {
			for _, p := range r.newPods(t) {
				p.of = t
				out = append(out, p)
			}
		}
	}
	return out
}

// statusesOf are those of the containers that are to run for as long as the pod does.
func statusesOf(p *corev1.Pod) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, s := range p.Status.InitContainerStatuses {
			if s.Name == c.Name {
				out = append(out, s)
			}
		}
	}
	return append(out, p.Status.ContainerStatuses...)
}

// notStable is the failure of a rollout whose deadline was over before everything had
// been ready for long enough.
func (r *run) notStable() *fatal {
	cause := diagnose.Cause{Code: release.CodeDeadlineExceeded, Hint: "--timeout gives it more time, or `stable:` of the role asks for less",
		Message: fmt.Sprintf("ready, but not for %s when the timeout was over", r.o.Stable)}
	return &fatal{cause, r.tracked[r.order[0]], nil}
}
