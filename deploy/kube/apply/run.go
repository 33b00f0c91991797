package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// run is one Apply under way.
type run struct {
	c       *client.Client
	o       Options
	state   State
	applied Applied

	mu      sync.Mutex
	results map[object.ID]Result
}

// applyAll applies the objects rank by rank. The set's parent is written after the
// namespaces, one of which may be its own, and before any member.
func (r *run) applyAll(ctx context.Context) error {
	byRank := map[int][]*object.Object{}
	for _, o := range r.state.Objects {
		byRank[rankOf(o.Kind)] = append(byRank[rankOf(o.Kind)], o)
	}
	ranks := make([]int, 0, len(byRank))
	for rank := range byRank {
		ranks = append(ranks, rank)
	}
	sort.Ints(ranks)
	recorded := false
	for _, rank := range ranks {
		if rank > rankNamespace && !recorded {
			if err := r.recordExtent(ctx); err != nil {
				return err
			}
			recorded = true
		}
		if err := r.applyRank(ctx, byRank[rank]); err != nil {
			return err
		}
	}
	if !recorded {
		return r.recordExtent(ctx)
	}
	return nil
}

// recordExtent makes the parent name both what the set had and what it will have, so
// that a run that is killed half way leaves nothing that a later one cannot find.
func (r *run) recordExtent(ctx context.Context) error {
	before := r.state.Inventory
	all := r.applied.extent.with(before.extent)
	namespace := r.state.Set.Parent.Namespace
	r.applied.widened = !maps.Equal(all.annotations(namespace), r.applied.extent.annotations(namespace))
	return writeParent(ctx, r.c, r.state.Set, before.parent, all)
}

const (
	rankNamespace = iota
	rankDefinition
	rankSetting
	rankWorkload
	rankWebhook
)

// rankOf orders kinds: what others need comes first.
func rankOf(k object.Kind) int {
	switch k.GroupKind.Kind {
	case "Namespace":
		return rankNamespace
	case "CustomResourceDefinition":
		return rankDefinition
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding":
		return rankWebhook
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "ReplicationController":
		return rankWorkload
	}
	if !k.Builtin { // its controller may run pods, which need the settings
		return rankWorkload
	}
	return rankSetting
}

// IsWorkload reports whether objects of a kind run pods, or may: a kind that a
// CustomResourceDefinition defines counts as a workload.
func IsWorkload(k object.Kind) bool { return rankOf(k) == rankWorkload }

// applyRank applies the objects of one rank at the same time.
func (r *run) applyRank(ctx context.Context, objects []*object.Object) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for _, o := range objects {
		group.Go(func() error {
			result, err := r.applyObject(gctx, o)
			if err != nil {
				if gctx.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
					return err // another object's error ended this one
				}
				return withObject(o.ID, err)
			}
			r.report(result)
			if rankOf(o.Kind) == rankDefinition {
				return r.waitUntilEstablished(gctx, o)
			}
			return nil
		})
	}
	return group.Wait()
}

// withObject says which object an error is about, once.
func withObject(id object.ID, err error) error {
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("apply %w", err)
	}
	return fmt.Errorf("apply %s: %w", id, err)
}

// applyObject applies one object, or finds it unchanged.
func (r *run) applyObject(ctx context.Context, o *object.Object) (Result, error) {
	live, policy := r.state.Live(o.ID), r.o.Policy
	if r.state.jobCompleted(o) {
		return Result{Object: o, Action: release.ActionUnchanged}, nil
	}
	if r.state.Set.Unchanged(o, live, policy) {
		return unchanged(o, live), nil
	}
	switch {
	case live == nil: // there is nothing to wait for
	case live.GetDeletionTimestamp() != nil:
		r.o.Progress.Report(release.Event{Phase: release.PhaseApply, Mark: release.MarkNote, Role: r.state.Role.Name, Message: o.ID.String() + " is being deleted: waiting until it is gone"})
		if err := r.waitUntilGone(ctx, o, live.GetUID()); err != nil {
			return Result{}, err
		}
		live = nil
	case object.FailedJob(live):
		return r.replace(ctx, o, live.GetUID())
	}
	want := r.state.Set.body(o)
	compare.CedeFields(want, live, policy)
	live, err := r.takeOver(ctx, o, want, live)
	if err != nil {
		return Result{}, err
	}
	if err := r.handOver(ctx, o, want, live); err != nil {
		return Result{}, err
	}
	got, err := r.sendToNewKind(ctx, o, want)
	if o.ID.Kind == "Job" && apierrors.IsInvalid(err) && live != nil {
		return r.replace(ctx, o, live.GetUID())
	}
	switch {
	case err != nil:
		return Result{}, err
	case live != nil && got.Version == live.GetResourceVersion():
		return unchanged(o, live), nil
	case got.Created:
		return written(o, release.ActionCreated, got), nil
	}
	result := written(o, release.ActionConfigured, got)
	result.SamePods = live != nil && got.Object != nil && reflect.DeepEqual(object.PodTemplate(live), object.PodTemplate(got.Object))
	return result, nil
}

// unchanged is the result for an object that was not written. Of one that has no state
// to wait for nothing more is asked.
func unchanged(o *object.Object, live *unstructured.Unstructured) Result {
	result := Result{Object: o, Action: release.ActionUnchanged, SamePods: true}
	if o.BecomesReady() {
		result.Live = object.SlimWorkload(live)
	}
	return result
}

// written is the result for an object that the server has written. It may be ready
// already, if nothing changed that its pods run.
func written(o *object.Object, action release.Action, got client.Applied) Result {
	return Result{Object: o, Action: action, Version: got.Version, Live: object.SlimWorkload(got.Object)}
}

// replace deletes a Job, whose template cannot change, and creates it again.
func (r *run) replace(ctx context.Context, o *object.Object, uid types.UID) (Result, error) {
	if err := r.c.Delete(ctx, o.Kind, o.ID, uid); err != nil {
		return Result{}, err
	}
	if err := r.waitUntilGone(ctx, o, uid); err != nil {
		return Result{}, err
	}
	got, err := send(ctx, r.c, request{o, r.state.Set.body(o), client.ApplyOptions{Whole: true}}, r.o.Policy)
	if err != nil {
		return Result{}, err
	}
	return written(o, release.ActionReplaced, got), nil
}

// waitUntilGone waits until an object that is being deleted no longer exists.
func (r *run) waitUntilGone(ctx context.Context, o *object.Object, uid types.UID) error {
	return r.c.Until(ctx, o, func(live *unstructured.Unstructured) bool { return live == nil || live.GetUID() != uid })
}

// waitUntilEstablished waits until the server serves the kind that an object defines.
func (r *run) waitUntilEstablished(ctx context.Context, o *object.Object) error {
	isEstablished := func(u *unstructured.Unstructured) bool {
		return u != nil && object.Condition(u, "Established") == "True"
	}
	if isEstablished(r.state.Live(o.ID)) {
		return nil
	}
	return r.c.Until(ctx, o, isEstablished)
}

// sendToNewKind sends an object, and again for a while if the server does not yet
// serve a kind that has just been defined.
func (r *run) sendToNewKind(ctx context.Context, o *object.Object, want map[string]any) (client.Applied, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := send(ctx, r.c, request{o, want, client.ApplyOptions{Whole: o.BecomesReady()}}, r.o.Policy)
		if !apierrors.IsNotFound(err) || o.Kind.Builtin || time.Now().After(deadline) {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *run) report(result Result) {
	r.mu.Lock()
	r.results[result.Object.ID] = result
	count := len(r.results)
	r.mu.Unlock()
	if result.Action != release.ActionUnchanged {
		r.o.Progress.Report(release.Event{
			Phase: release.PhaseApply, Mark: release.MarkStep, Role: r.state.Role.Name, Ready: count, Message: result.Object.ID.String() + " " + string(result.Action),
		})
	}
}
