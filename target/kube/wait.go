package kube

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// errGaveUp is the cause of a wait that ran into its limit.
var errGaveUp = errors.New("the time limit is over")

// Wait returns when the role's new revision serves, and what serves then. The
// error is a *release.Failure when it failed for good or the time is over; when
// ctx ends first, it is that of ctx.
//
// Objects that the role no longer has are pruned only when all is ready, so that
// what serves goes on serving until then.
func (c *Cluster) Wait(ctx context.Context, role release.Role, a Applied, o WaitOptions) (release.Live, error) {
	objects, err := parse(role)
	if err != nil {
		return release.Live{}, err
	}
	if err := c.resolve(objects); err != nil {
		return release.Live{}, err
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	limit, cancel := context.WithTimeoutCause(ctx, o.Timeout, errGaveUp)
	defer cancel()
	w := newWait(c, role, a, o, objects)
	pods, err := w.run(limit)
	switch {
	case err != nil && ctx.Err() != nil:
		return release.Live{}, ctx.Err()
	case err != nil:
		return release.Live{}, err
	}
	if err := c.prune(limit, a, o.Progress); err != nil {
		return release.Live{}, err
	}
	live := w.workloads()
	seen := liveOf(role, objects, live, pods, time.Now())
	if pods != nil && seen.Ready >= seen.Desired {
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
	began time.Time

	sets      map[types.UID]replicaSet
	pods      map[types.UID]*pod
	owned     map[types.UID]map[types.UID]bool // ReplicaSets and pods by the uid of their controller
	strays    map[types.UID][]warning          // warnings about objects that are not known yet
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
	w := &wait{c: c, role: role, a: a, o: o, roots: map[ID]*root{}, began: time.Now(), sets: map[types.UID]replicaSet{},
		pods: map[types.UID]*pod{}, owned: map[types.UID]map[types.UID]bool{}, strays: map[types.UID][]warning{}, listening: map[string]bool{}}
	for _, obj := range objects {
		if waits(obj) {
			w.roots[obj.id] = &root{object: obj, live: a.live[obj.id], h: newHistory()}
			w.order = append(w.order, obj.id)
		}
	}
	return w
}

// run waits until every root is ready. The pods are nil if nothing had to be
// watched.
func (w *wait) run(ctx context.Context) ([]*corev1.Pod, error) {
	if done, _, err := w.judge(); err != nil || done {
		return nil, err
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
	w.show(done)
	return done, again, nil
}

// ending is a cause that ends the wait, with where it was found.
type ending struct {
	cause
	root *root
	pod  *pod // nil: the root itself
}

func (e *ending) Error() string { return e.code + ": " + e.message }

// judge looks at every root. An *ending is the error of one that failed for good.
func (w *wait) judge() (done bool, again time.Duration, err error) {
	done, again = true, time.Second
	now := time.Now()
	for _, id := range w.order {
		r := w.roots[id]
		if r.live == nil {
			done = false
			continue
		}
		if !r.judged {
			if r.state, err = judge(r.live); err != nil {
				return false, 0, err
			}
			r.judged = true
		}
		if r.state.ready {
			continue
		}
		if r.object.id.Kind == "PersistentVolumeClaim" && r.state.fault == nil && w.waitsForPod(r) {
			continue
		}
		done = false
		worst, left := w.worst(r, now)
		if worst != nil {
			return false, 0, worst
		}
		if left > 0 {
			again = min(again, left)
		}
	}
	return done, max(again, 10*time.Millisecond), nil
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
		if r.object.id.Kind == "Job" && found.code == "CrashLoop" {
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
		if !ok || fault.code != "DeadlineExceeded" && fault.code != "JobFailed" {
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
			return c.code + ": " + c.message
		}
	}
	return r.state.missing
}

// gaveUp says what was missing when the time was over.
func (w *wait) gaveUp(ctx context.Context) error {
	if !errors.Is(context.Cause(ctx), errGaveUp) {
		return ctx.Err()
	}
	for _, id := range w.order {
		r := w.roots[id]
		if r.live != nil && r.state.ready {
			continue
		}
		missing := "the API server says nothing of it"
		if r.live != nil {
			missing = r.state.missing
		}
		fault := cause{code: "DeadlineExceeded", message: fmt.Sprintf("not ready within %s: %s", w.o.Timeout, missing), patience: atOnce,
			hint: "--timeout gives it more time"}
		if r.live == nil {
			return w.autopsy(ctx, &ending{fault, r, nil})
		}
		if known := firstFault(r.state.fault, w.refusedPods(r)); known != nil {
			fault.message += "; " + known.code + ": " + known.message
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
