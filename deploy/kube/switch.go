package kube

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/deploy/kube/rollout"
	"github.com/joelhooks/shipit/release"
)

// errTimeout is the cause of a rollout that took longer than Options.Timeout.
var errTimeout = errors.New("the rollout's timeout is over")

// Switch applies the role's objects, waits until the new revision serves, and then
// deletes the objects that the role no longer has.
func (t *Target) Switch(ctx context.Context, step deploy.Step) (release.Live, error) {
	role := step.Role
	t.report(role, release.PhaseApply, release.MarkStart, "apply "+cmp.Or(release.ShortDigest(role.Digest), "what ran before"))
	state, policy, err := t.state(ctx, step)
	if err != nil {
		return release.Live{}, limitOf(ctx, err)
	}
	if read, ok := step.Snapshot.(*preflight.Snapshot); ok {
		read.Drop(role.Name) // the cluster is about to have something else
	}
	applied, err := apply.Apply(ctx, t.client, state, apply.Options{Policy: policy, Roles: step.Release.Roles, Progress: t.options.Progress})
	if err != nil {
		return release.Live{}, limitOf(ctx, err)
	}
	t.report(role, release.PhaseApply, release.MarkDone, applied.String())
	t.report(role, release.PhaseWait, release.MarkStart, "wait for the new revision")
	live, err := t.complete(ctx, step, applied, t.stable(role))
	if err != nil {
		return live, limitOf(ctx, err)
	}
	t.options.Progress.Report(release.Event{Phase: release.PhaseWait, Mark: release.MarkDone, Role: role.Name, Message: "ready", Ready: live.Ready, Desired: live.Desired})
	return live, nil
}

// stableTime is how long what was ready must stay up if a role says nothing: as long
// as on a machine.
const stableTime = 3 * time.Second

func (t *Target) stable(role release.Role) time.Duration {
	r, _ := t.cfg.Role(role.Name)
	return r.Stable.Or(stableTime)
}

// complete waits until what was applied is ready and has stayed so for a while, prunes,
// waits until what was there before answers no more, and observes what runs then.
func (t *Target) complete(ctx context.Context, step deploy.Step, applied apply.Applied, stable time.Duration) (release.Live, error) {
	role := step.Role
	limit, cancel := context.WithTimeoutCause(ctx, t.options.Timeout, errTimeout)
	defer cancel()
	objects := make([]*object.Object, len(applied.Results))
	for i, r := range applied.Results {
		objects[i] = r.Object
	}
	untouched, err := t.replacePatched(limit, role, objects, applied)
	if err != nil {
		return release.Live{}, err
	}
	ready, err := rollout.Wait(limit, t.client, waitedFor(applied), rollout.Options{Role: role.Name, Selector: applied.Set.Selector(), Stable: stable, Progress: t.options.Progress})
	if err != nil {
		return release.Live{}, err
	}
	if err := apply.Prune(limit, t.client, applied, t.options.Progress); err != nil {
		return release.Live{}, err
	}
	if err := t.drained(limit, step, objects, ready.Pods); err != nil {
		return release.Live{}, err
	}
	pods := ready.Pods
	if pods == nil && len(untouched.workloads) == len(serving(objects, ready.Workloads)) {
		pods = untouched.pods // read a moment ago, and nothing has changed
	}
	live := liveOf(role, running{objects, ready.Workloads, pods}, time.Now())
	if pods != nil && inParity(role, live) {
		return live, nil
	}
	// Nothing was watched, or the watch of the pods is behind that of their controllers.
	if pods, err = podsOf(ctx, t.client, selectedBy(serving(objects, ready.Workloads))); err != nil {
		return release.Live{}, observing(role, err)
	}
	return liveOf(role, running{objects, ready.Workloads, pods}, time.Now()), nil
}

// drained waits until no Service of the release sends traffic to pods of the role that
// end: those of the revision before, or of what was just pruned.
func (t *Target) drained(ctx context.Context, step deploy.Step, objects []*object.Object, known []*corev1.Pod) error {
	running, err := podsOfRelease(step.Release, step.Role.Name, objects)
	if err != nil {
		return err
	}
	services := slices.DeleteFunc(slices.Clone(running.services), func(s releaseService) bool { return !s.selected[step.Role.Name] })
	return t.awaitTraffic(ctx, trafficWait{role: step.Role.Name, running: running, services: services, gone: step.Role.Name, known: known})
}

func inParity(role release.Role, live release.Live) bool {
	return len(release.Compare(release.Release{Roles: []release.Role{role}}, map[string]release.Live{role.Name: live})) == 0
}

// waitedFor is what an apply did, as a rollout wants to know it. The live objects are then
// the rollout's alone, which lets go of each as it is told of a newer one.
func waitedFor(applied apply.Applied) []rollout.Object {
	var out []rollout.Object
	for i, r := range applied.Results {
		applied.Results[i].Live = nil
		if r.Action == release.ActionUnchanged && r.Live == nil {
			continue // a Job that has run, and is gone
		}
		out = append(out, rollout.Object{Object: r.Object, Live: r.Live, Version: r.Version, Changed: r.Action != release.ActionUnchanged})
	}
	return out
}

func (t *Target) report(role release.Role, phase release.Phase, mark release.Mark, message string) {
	t.options.Progress.Report(release.Event{Phase: phase, Mark: mark, Role: role.Name, Message: message})
}

// limitOf is err, or the *release.Failure that the caller has given its time limit
// as the cause, if it was that limit that ended the work.
func limitOf(ctx context.Context, err error) error {
	var failure *release.Failure
	if errors.As(err, &failure) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &failure) {
		return failure
	}
	return err
}
