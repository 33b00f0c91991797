// Package rollout waits until the objects of a role are ready, by watching them, their
// pods and their events; or it ends early, when one has failed for good, with the cause
// and the evidence.
package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Object is one object of a role, as an apply has left it.
type Object struct {
	*object.Object
	Live    *unstructured.Unstructured // nil: not known
	Version string                     // resourceVersion that the apply gave it; what a watch tells of an older one is ignored
	Changed bool                       // by the apply
}

// Options say what is waited for.
type Options struct {
	Role     string
	Selector string        // label selector of the role's objects
	Stable   time.Duration // how long all must stay ready without a restart, where pods had to be waited for
	Progress release.Progress
}

// Ready is what a rollout saw when everything was ready.
type Ready struct {
	Workloads []*unstructured.Unstructured
	Pods      []*corev1.Pod // nil if everything was ready at once, so that no pod was watched
}

// Wait returns when every object is ready and has stayed so. The error is a *release.Failure when one has
// failed for good or the deadline of ctx is over; when ctx is cancelled, it is that of
// ctx.
func Wait(ctx context.Context, c *client.Client, objects []Object, o Options) (Ready, error) {
	r := newRun(c, objects, o)
	pods, err := r.wait(ctx)
	var failure *release.Failure
	switch {
	case err == nil:
		return Ready{Workloads: r.liveObjects(), Pods: pods}, nil
	case errors.Is(ctx.Err(), context.Canceled) && !errors.As(err, &failure):
		return Ready{}, ctx.Err()
	}
	return Ready{}, err
}

// run is one Wait under way. Only its own goroutine touches it.
type run struct {
	c       *client.Client
	o       Options
	began   time.Time
	order   []object.ID
	tracked map[object.ID]*tracked
	byUID   map[types.UID]*tracked

	replicaSets   map[types.UID]replicaSet
	pods          map[types.UID]*pod
	slim          object.SlimPods
	controlled    map[types.UID]map[types.UID]bool // ReplicaSets and pods by the UID of their controller
	earlyWarnings map[types.UID][]diagnose.Warning // about objects that are not known yet
	deleted       map[types.UID]bool               // pods that were deleted because they blocked an update
	eventsWatched map[string]bool                  // namespaces
	stable        stability
	shown         string // the last progress
}

// tracked is an object that the rollout waits for.
type tracked struct {
	Object
	statusRead bool // status is that of Live
	status     diagnose.Status
	history    *diagnose.History // of its own warnings and causes

	before    map[string]string // the containers of a Pod as the apply found them, by name
	delegated bool              // what is waited for is another tracked object: the pod that will use a volume claim
	dirty     bool              // it or its pods have changed since it was last assessed
	due       time.Time         // when to assess it although nothing has changed
}

// replicaSet is what has to be known of one.
type replicaSet struct {
	name       string
	controller types.UID
	revision   string
	from       *watcher
}

// pod is one pod with its history.
type pod struct {
	*corev1.Pod
	history *diagnose.History
	of      *tracked // whose pod it is; nil: not looked up yet
	from    *watcher // nil: its watch has started again, and has not told of the pod yet
}

func newRun(c *client.Client, objects []Object, o Options) *run {
	r := &run{c: c, o: o, began: time.Now(), tracked: map[object.ID]*tracked{}, byUID: map[types.UID]*tracked{},
		replicaSets: map[types.UID]replicaSet{}, pods: map[types.UID]*pod{}, controlled: map[types.UID]map[types.UID]bool{},
		earlyWarnings: map[types.UID][]diagnose.Warning{}, deleted: map[types.UID]bool{}, eventsWatched: map[string]bool{}}
	for _, obj := range objects {
		if !obj.BecomesReady() {
			continue
		}
		t := &tracked{Object: obj, history: diagnose.NewHistory(), before: containerIDs(obj.Live), dirty: true}
		r.tracked[obj.ID], r.order = t, append(r.order, obj.ID)
		if t.Live != nil {
			r.byUID[t.Live.GetUID()] = t
		}
	}
	return r
}

// wait waits until every tracked object is ready. The pods are nil if nothing had to
// be watched.
func (r *run) wait(ctx context.Context) ([]*corev1.Pod, error) {
	if done, _, err := r.assessAll(); err != nil || done {
		return nil, r.withEvidence(ctx, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, broken := make(chan watchEvent, 64), make(chan error, 1)
	start := func(watchers []*watcher) {
		for _, w := range watchers {
			go func() {
				if err := w.run(ctx, events); err != nil && ctx.Err() == nil {
					select {
					case broken <- err:
					default:
					}
				}
			}()
		}
	}
	start(r.watchers())
	tick := time.NewTimer(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, r.timedOut(ctx)
		case err := <-broken:
			return nil, err
		case e := <-events:
			r.handle(e)
			r.drain(events)
		case <-tick.C:
			start(r.eventWatchers())
		}
		done, again, err := r.step(ctx)
		if err != nil || done {
			return r.watchedPods(), err
		}
		tick.Reset(again)
	}
}

// drain handles the watch events that have piled up, so that a burst of them is
// assessed once.
func (r *run) drain(events <-chan watchEvent) {
	for range cap(events) {
		select {
		case e := <-events:
			r.handle(e)
		default:
			return
		}
	}
}

// step assesses what has changed. again is when to assess although nothing changes.
func (r *run) step(ctx context.Context) (done bool, again time.Duration, err error) {
	done, again, err = r.assessAll()
	if err != nil {
		return false, 0, r.withEvidence(ctx, err)
	}
	if ended := r.restarted(ctx); ended != nil {
		return false, 0, r.withEvidence(ctx, ended)
	}
	r.deleteBlockingPods(ctx)
	r.show(done)
	done, again = r.stays(done, again, time.Now())
	return done, again, nil
}

// show reports how far the rollout is, whenever that changes.
func (r *run) show(done bool) {
	e := release.Event{Phase: release.PhaseWait, Mark: release.MarkStep, Role: r.o.Role}
	var notes []string
	for _, id := range r.order {
		t := r.tracked[id]
		if t.status.HasPods {
			e.Ready, e.Desired = e.Ready+min(t.status.Serving, t.status.Desired), e.Desired+t.status.Desired
		}
		if t.Live != nil && !t.status.Ready && len(notes) < 3 {
			notes = append(notes, id.Kind+" "+id.Name+": "+r.missing(t))
		}
	}
	e.Message = strings.Join(notes, "; ")
	if text := fmt.Sprint(e.Ready, e.Desired, e.Message); text != r.shown && !done {
		r.shown = text
		r.o.Progress.Report(e)
	}
}

// missing says in a few words what an object's readiness lacks.
func (r *run) missing(t *tracked) string {
	for _, p := range r.newPods(t) {
		if c, ok := diagnose.Pod(p.Pod, p.history); ok {
			return string(c.Code) + " in Pod " + p.Name // its message may quote the program, and with it secrets
		}
	}
	if p := r.overduePod(t, time.Now()); p != nil {
		message, _ := overdueText(p)
		return message
	}
	return t.status.Missing
}

// timedOut is the failure of a rollout whose deadline is over: it says what was
// missing, and the cause if one is known.
func (r *run) timedOut(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	took := time.Since(r.began).Round(time.Second)
	for _, id := range r.order {
		t := r.tracked[id]
		if t.Live != nil && t.status.Ready {
			continue
		}
		missing := "the API server says nothing of it"
		if t.Live != nil {
			missing = t.status.Missing
		}
		cause := diagnose.Cause{Code: release.CodeDeadlineExceeded, Message: fmt.Sprintf("not ready within %s: %s", took, missing), Hint: "--timeout gives it more time"}
		if t.Live == nil {
			return r.withEvidence(ctx, &fatal{cause, t, nil})
		}
		if known := r.controllerCause(t); known != nil && known.Code != cause.Code {
			cause.Message += "; " + string(known.Code) + ": " + known.Message
			cause.Hint = cmp.Or(known.Hint, cause.Hint)
		}
		if p := r.overduePod(t, time.Now()); p != nil {
			message, hint := overdueText(p)
			cause.Message, cause.Hint = cause.Message+"; "+message, hint
		}
		found := r.withPod(t, &cause)
		found.Hint = cmp.Or(found.Hint, cause.Hint)
		return r.withEvidence(ctx, found)
	}
	if !r.stable.since.IsZero() {
		return r.withEvidence(ctx, r.notStable())
	}
	return context.Cause(ctx)
}

// liveObjects are the tracked objects as they are now.
func (r *run) liveObjects() []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, id := range r.order {
		if live := r.tracked[id].Live; live != nil {
			out = append(out, live)
		}
	}
	return out
}

func (r *run) watchedPods() []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(r.pods))
	for _, p := range r.pods {
		if p.from != nil {
			pods = append(pods, p.Pod)
		}
	}
	return pods
}
