package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

// DefaultTimeout is how long a role is waited for if nothing else is said.
const DefaultTimeout = 5 * time.Minute

// WaitOptions say how long a role is waited for.
type WaitOptions struct {
	Timeout  time.Duration // default DefaultTimeout
	Progress release.Progress
}

// errGaveUp is the cause of a wait that ran into its own limit.
var errGaveUp = errors.New("the time limit is over")

// Wait returns when the role's new revision serves, and what serves then. The
// error is a *release.Failure when it failed for good or the time is over, that of
// ctx included; when ctx is cancelled, it is that of ctx.
//
// Objects that the role no longer has are pruned only when all is ready, so that
// what serves goes on serving until then.
func (c *Cluster) Wait(ctx context.Context, role release.Role, a Applied, o WaitOptions) (release.Live, error) {
	objects := a.objects
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	limit, cancel := context.WithTimeoutCause(ctx, o.Timeout, errGaveUp)
	defer cancel()
	w := newWait(c, role, a, o, objects)
	pods, err := w.run(limit)
	var failure *release.Failure
	switch {
	case err != nil && ctx.Err() != nil && !errors.As(err, &failure):
		return release.Live{}, ctx.Err()
	case err != nil:
		return release.Live{}, err
	}
	if err := c.prune(limit, a, o.Progress); err != nil {
		return release.Live{}, err
	}
	live := w.workloads()
	seen := liveOf(role, objects, live, pods, time.Now())
	if pods != nil && len(release.Compare(release.Release{Roles: []release.Role{role}}, map[string]release.Live{role.Name: seen})) == 0 {
		return seen, nil
	}
	// Nothing was watched, or the watch of the pods is behind that of their owners.
	if pods, err = c.podsOf(limit, serving(objects, live)); err != nil {
		return release.Live{}, fmt.Errorf("observe role %s: %w", role.Name, err)
	}
	return liveOf(role, objects, live, pods, time.Now()), nil
}

// wait is one Wait under way. Only its own goroutine touches it.
type wait struct {
	c     *Cluster
	role  release.Role
	a     Applied
	o     WaitOptions
	roots map[ID]*root
	order []ID
	uids  map[types.UID]*root
	began time.Time

	sets      map[types.UID]replicaSet
	pods      map[types.UID]*pod
	owned     map[types.UID]map[types.UID]bool // ReplicaSets and pods by the uid of their controller
	strays    map[types.UID][]warning          // warnings about objects that are not known yet
	freed     map[types.UID]bool               // pods that unstick has deleted
	listening map[string]bool                  // namespaces whose warnings are watched
	shown     string
}

// root is an object that is waited for.
type root struct {
	object *object
	live   *unstructured.Unstructured
	judged bool // state is that of live
	state  state
	h      *history // of its own warnings and faults

	elsewhere bool // what is waited for is another root: a pod that will use it

	heard bool      // of it or its pods, since it was last looked at
	due   time.Time // when to look at it without any news
}

// replicaSet is what has to be known of one.
type replicaSet struct {
	owner    types.UID
	revision string
	feed     *feed
}

// pod is one pod with what was seen of it.
type pod struct {
	*corev1.Pod
	h    *history
	feed *feed
}

func newWait(c *Cluster, role release.Role, a Applied, o WaitOptions, objects []*object) *wait {
	w := &wait{c: c, role: role, a: a, o: o, roots: map[ID]*root{}, uids: map[types.UID]*root{}, began: time.Now(), sets: map[types.UID]replicaSet{},
		pods: map[types.UID]*pod{}, owned: map[types.UID]map[types.UID]bool{}, strays: map[types.UID][]warning{}, listening: map[string]bool{}, freed: map[types.UID]bool{}}
	for _, obj := range objects {
		if waits(obj) {
			r := &root{object: obj, live: a.live[obj.id], h: newHistory(), heard: true}
			w.roots[obj.id], w.order = r, append(w.order, obj.id)
			if r.live != nil {
				w.uids[r.live.GetUID()] = r
			}
		}
	}
	return w
}

// run waits until every root is ready. The pods are nil if nothing had to be
// watched.
func (w *wait) run(ctx context.Context) ([]*corev1.Pod, error) {
	if done, _, err := w.judge(); err != nil || done {
		return nil, w.autopsy(ctx, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tell, broken := make(chan news, 64), make(chan error, 1)
	listen := func(feeds []*feed) {
		for _, f := range feeds {
			go func() {
				if err := f.run(ctx, w.c, tell); err != nil && ctx.Err() == nil {
					select {
					case broken <- err:
					default:
					}
				}
			}()
		}
	}
	listen(w.feeds())
	look := time.NewTimer(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, w.gaveUp(ctx)
		case err := <-broken:
			return nil, err
		case n := <-tell:
			w.hear(n)
			w.drain(tell)
		case <-look.C:
			listen(w.warnings())
		}
		done, again, err := w.step(ctx)
		if err != nil || done {
			return w.seen(), err
		}
		look.Reset(again)
	}
}

// drain hears what has piled up, so that a burst of news is judged once.
func (w *wait) drain(tell <-chan news) {
	for range cap(tell) {
		select {
		case n := <-tell:
			w.hear(n)
		default:
			return
		}
	}
}

// step judges everything anew. again is when to look without any news.
func (w *wait) step(ctx context.Context) (done bool, again time.Duration, err error) {
	done, again, err = w.judge()
	if err != nil {
		return false, 0, w.autopsy(ctx, err)
	}
	w.unstick(ctx)
	w.show(done)
	return done, again, nil
}

// show reports how far the role is, whenever that changes.
func (w *wait) show(done bool) {
	e := release.Event{Phase: release.PhaseWait, Mark: release.MarkStep, Role: w.role.Name}
	var notes []string
	for _, id := range w.order {
		r := w.roots[id]
		if r.state.pods {
			e.Ready, e.Desired = e.Ready+min(r.state.serving, r.state.asked), e.Desired+r.state.asked
		}
		if r.live != nil && !r.state.ready && len(notes) < 3 {
			notes = append(notes, id.Kind+" "+id.Name+": "+w.note(r))
		}
	}
	e.Message = strings.Join(notes, "; ")
	if text := fmt.Sprint(e.Ready, e.Desired, e.Message); text != w.shown && !done {
		w.shown = text
		w.o.Progress.Report(e)
	}
}

// note says in a few words what a root is waiting for.
func (w *wait) note(r *root) string {
	for _, p := range w.newPods(r) {
		if c, ok := diagnose(p.Pod, p.h, time.Now()); ok {
			return string(c.code) + ": " + clip(release.Redact(c.message, nil))
		}
	}
	return r.state.missing
}

// gaveUp says what was missing when the time was over.
func (w *wait) gaveUp(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	took := time.Since(w.began).Round(time.Second)
	for _, id := range w.order {
		r := w.roots[id]
		if r.live != nil && r.state.ready {
			continue
		}
		missing := "the API server says nothing of it"
		if r.live != nil {
			missing = r.state.missing
		}
		fault := cause{code: release.CodeDeadlineExceeded, message: fmt.Sprintf("not ready within %s: %s", took, missing), patience: atOnce,
			hint: "--timeout gives it more time"}
		if r.live == nil {
			return w.autopsy(ctx, &ending{fault, r, nil})
		}
		if known := firstFault(r.state.fault, w.refusedPods(r)); known != nil {
			fault.message += "; " + string(known.code) + ": " + known.message
			fault.hint = firstOf(known.hint, fault.hint)
		}
		found := w.blame(r, &fault, time.Now())
		found.hint = firstOf(found.hint, fault.hint)
		return w.autopsy(ctx, found)
	}
	return context.Cause(ctx)
}

func firstFault(faults ...*cause) *cause {
	for _, f := range faults {
		if f != nil {
			return f
		}
	}
	return nil
}

// workloads are the roots as they are now, and pods that are roots themselves.
func (w *wait) workloads() []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, id := range w.order {
		if live := w.roots[id].live; live != nil {
			out = append(out, live)
		}
	}
	return out
}

func (w *wait) seen() []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(w.pods))
	for _, p := range w.pods {
		if p.feed != nil {
			pods = append(pods, p.Pod)
		}
	}
	return pods
}
