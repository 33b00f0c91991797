package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

// parallel bounds the requests that are under way at once.
const parallel = 16

// ApplyOptions say how a role is applied.
type ApplyOptions struct {
	App       string // names the ApplySet, together with the role
	Namespace string // holds the ApplySet's parent; default: that of the role's first object in one
	// Conflicts is what to do about fields that another manager owns, by the
	// manager's name: "force" takes them, "cede" leaves them alone. Others
	// refuse, but for images, which are taken back, and replicas that an
	// autoscaler holds, which are always ceded.
	Conflicts map[string]string
	// Beside are all roles of the release: what moves to another one is not pruned.
	Beside   []release.Role
	Force    bool // take every field in conflict
	DryRun   bool // let the server try, and change nothing
	Progress release.Progress
	// Before is what a Preflight read, where nothing of the role can have changed
	// since; the zero value reads anew.
	Before Surveyed
}

func (o ApplyOptions) policy() policy { return policy{owners: o.Conflicts, force: o.Force} }

// Action is what became of one object.
type Action string

const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Pruned     Action = "pruned"
	Replaced   Action = "replaced" // deleted and made again: a Job whose template changed
)

// Result is what became of one object.
type Result struct {
	Object ID
	Action Action
}

// String is the log line: Deployment joelclaw/worker configured.
func (r Result) String() string { return r.Object.String() + " " + string(r.Action) }

// Applied is what an Apply did. Wait takes it.
type Applied struct {
	Results []Result // in the order of the role's objects

	objects  []*object
	set      applySet
	extent   extent                            // of the objects that are wanted
	widened  bool                              // the parent still names more than that
	obsolete map[ID]member                     // to be pruned once all is ready
	live     map[ID]*unstructured.Unstructured // of the unchanged, and of what can be waited for
	since    map[ID]string                     // of the others: the resourceVersion that the apply gave them
}

// Changed reports whether anything was written.
func (a Applied) Changed() bool {
	for _, r := range a.Results {
		if r.Action != Unchanged {
			return true
		}
	}
	return false
}

// Apply brings the role's objects into the cluster: namespaces first, then
// definitions of kinds, then what pods read, then what runs pods. An object
// that has not changed is not written. Objects that the role no longer has are
// pruned by Wait, when the new ones serve.
//
// The error names the object; a *ConflictError also the fields and their owner.
// What was applied before the error stays.
func (c *Cluster) Apply(ctx context.Context, role release.Role, o ApplyOptions) (Applied, error) {
	if o.DryRun {
		return c.rehearse(ctx, role, o)
	}
	run := &applyRun{c: c, o: o, role: role.Name, actions: map[ID]Action{}}
	objects, set, before, err := c.stock(ctx, role, o)
	if err != nil {
		return Applied{}, err
	}
	run.set, run.before = set, before
	gone, err := c.obsolete(role, run.before, objects, o)
	if err != nil {
		return Applied{}, err
	}
	run.done = Applied{
		objects: objects, set: run.set, extent: extentOf(objects), obsolete: gone,
		live: map[ID]*unstructured.Unstructured{}, since: map[ID]string{},
	}
	err = run.waves(ctx, objects)
	for _, obj := range objects {
		if action, ok := run.actions[obj.id]; ok {
			run.done.Results = append(run.done.Results, Result{obj.id, action})
		}
	}
	return run.done, err
}

// homeOf is the namespace of the set's parent.
func homeOf(asked string, objects []*object) string {
	if asked != "" {
		return asked
	}
	for _, o := range objects {
		if o.id.Namespace != "" {
			return o.id.Namespace
		}
	}
	return "default"
}

// applyRun is one Apply under way.
type applyRun struct {
	c      *Cluster
	o      ApplyOptions
	role   string
	set    applySet
	before inventory

	mu      sync.Mutex
	actions map[ID]Action
	done    Applied
}

// waves applies the objects rank by rank. The set's parent is written after the
// namespaces, one of which may be its own, and before any member.
func (r *applyRun) waves(ctx context.Context, objects []*object) error {
	byRank := map[int][]*object{}
	for _, o := range objects {
		byRank[rank(o.kind)] = append(byRank[rank(o.kind)], o)
	}
	ranks := make([]int, 0, len(byRank))
	for k := range byRank {
		ranks = append(ranks, k)
	}
	sort.Ints(ranks)
	known := false
	for _, k := range ranks {
		if k > rankNamespace && !known {
			if err := r.widen(ctx); err != nil {
				return err
			}
			known = true
		}
		if err := r.wave(ctx, byRank[k]); err != nil {
			return err
		}
	}
	if !known {
		return r.widen(ctx)
	}
	return nil
}

// widen makes the parent name both what was and what will be, so that a run that
// is killed half way leaves nothing that a later one cannot find.
func (r *applyRun) widen(ctx context.Context) error {
	all := r.done.extent.with(r.before.extent)
	home := r.set.parent.Namespace
	r.done.widened = !maps.Equal(all.annotations(home), r.done.extent.annotations(home))
	return r.c.writeParent(ctx, r.set, r.before.parent, all)
}

const (
	rankNamespace = iota
	rankDefinition
	rankSetting
	rankWorkload
	rankWebhook
)

// rank orders kinds: what others stand in or read comes first.
func rank(k kind) int {
	switch k.gk.Kind {
	case "Namespace":
		return rankNamespace
	case "CustomResourceDefinition":
		return rankDefinition
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding":
		return rankWebhook
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "ReplicationController":
		return rankWorkload
	}
	if !k.builtin {
		return rankWorkload
	}
	return rankSetting
}

func (r *applyRun) wave(ctx context.Context, objects []*object) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, o := range objects {
		group.Go(func() error {
			action, err := r.one(gctx, o)
			if err != nil {
				if gctx.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
					return err // another object's error ended this one
				}
				return naming(o.id, err)
			}
			r.note(o.id, action)
			if rank(o.kind) == rankDefinition {
				return r.c.established(gctx, o, r.before.members[o.id].live)
			}
			return nil
		})
	}
	return group.Wait()
}

// naming says which object an error is about, once.
func naming(id ID, err error) error {
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("apply %w", err)
	}
	return fmt.Errorf("apply %s: %w", id, err)
}

// one applies one object, or finds that there is nothing to do.
func (r *applyRun) one(ctx context.Context, o *object) (Action, error) {
	p := r.o.policy()
	found := r.before.members[o.id]
	if r.set.has(o, found.live, p) {
		r.remember(o, found.live)
		return Unchanged, nil
	}
	switch {
	case found.live == nil:
	case found.live.GetDeletionTimestamp() != nil:
		r.o.Progress.Report(release.Event{Phase: release.PhaseApply, Mark: release.MarkNote, Role: r.role, Message: o.id.String() + " is being deleted: waiting until it is gone"})
		if err := r.c.gone(ctx, o, found.live.GetUID()); err != nil {
			return "", err
		}
		found.live = nil
	case failedJob(found.live):
		return r.anew(ctx, o, found.live.GetUID())
	}
	want := r.set.claim(o)
	cedeBeforehand(want, found.live, p)
	got, err := r.c.applyFresh(ctx, o, want, patchOptions{whole: waits(o)}, p)
	if o.id.Kind == "Job" && apierrors.IsInvalid(err) && found.live != nil {
		return r.anew(ctx, o, found.live.GetUID())
	}
	switch {
	case err != nil:
		return "", err
	case found.live != nil && got.version == found.live.GetResourceVersion():
		r.remember(o, found.live)
		return Unchanged, nil
	}
	r.wrote(o, got)
	if got.created {
		return Created, nil
	}
	return Configured, nil
}

// anew makes a Job again.
func (r *applyRun) anew(ctx context.Context, o *object, uid types.UID) (Action, error) {
	if err := r.c.replace(ctx, o, uid); err != nil {
		return "", err
	}
	got, err := r.c.apply(ctx, o, r.set.claim(o), patchOptions{whole: true}, r.o.policy())
	if err != nil {
		return "", err
	}
	r.wrote(o, got)
	return Replaced, nil
}

// applyFresh waits out the moment in which the server does not yet serve a kind
// that has just been defined.
func (c *Cluster) applyFresh(ctx context.Context, o *object, want map[string]any, p patchOptions, policy policy) (answer, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := c.apply(ctx, o, want, p, policy)
		if !apierrors.IsNotFound(err) || o.kind.builtin || time.Now().After(deadline) {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *applyRun) remember(o *object, live *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.live[o.id] = live
}

func (r *applyRun) wrote(o *object, got answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.since[o.id] = got.version
	if got.whole != nil {
		// What changed nothing that runs may be ready already.
		got.whole.SetManagedFields(nil)
		r.done.live[o.id] = got.whole
	}
}

func (r *applyRun) note(id ID, action Action) {
	r.mu.Lock()
	r.actions[id] = action
	count := len(r.actions)
	r.mu.Unlock()
	if action != Unchanged {
		r.o.Progress.Report(release.Event{
			Phase: release.PhaseApply, Mark: release.MarkStep, Role: r.role, Ready: count, Message: Result{id, action}.String(),
		})
	}
}
