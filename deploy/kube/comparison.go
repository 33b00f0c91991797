package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/deploy/kube/rollout"
	"github.com/joelhooks/shipit/release"
)

// wanted is what a role is to have, with what it has if the preflight of this step has
// read that just now; otherwise its inventory has no members.
func (t *Target) wanted(step deploy.Step) (apply.State, compare.Policy, error) {
	p, err := t.placed(step.Role, step.Force)
	if err != nil {
		return apply.State{}, p.policy, err
	}
	read, _ := step.Snapshot.(*preflight.Snapshot) // nil without one: it has no state
	if state, ok := read.State(step.Role); ok {
		return state, p.policy, nil
	}
	objects, err := t.client.Parse(step.Role)
	return apply.State{Role: step.Role, Objects: objects, Set: apply.SetOf(t.cfg.App, step.Role.Name, p.namespace, objects)}, p.policy, err
}

// state is what a role is to have and what it has: as the preflight of this step read
// it, or else read now. Without a snapshot everything is read now.
func (t *Target) state(ctx context.Context, step deploy.Step) (apply.State, compare.Policy, error) {
	state, policy, err := t.wanted(step)
	if err == nil {
		state, err = t.read(ctx, state)
	}
	return state, policy, err
}

// read reads what a role has, unless it was read.
func (t *Target) read(ctx context.Context, state apply.State) (apply.State, error) {
	var err error
	if state.Inventory.Members == nil {
		state.Inventory, err = apply.ReadInventory(ctx, t.client, state.Set, state.Objects)
	}
	return state, err
}

// Compare reads what the role has and, at the same time, what its pods run, and has the
// server try every object that is not as the release states it.
func (t *Target) Compare(ctx context.Context, step deploy.Step) (deploy.Comparison, error) {
	state, policy, err := t.wanted(step)
	if err != nil {
		return deploy.Comparison{}, err
	}
	releasePods, err := podsOfRelease(step.Release, step.Role.Name, state.Objects)
	if err != nil {
		return deploy.Comparison{}, err
	}
	services := slices.DeleteFunc(slices.Clone(releasePods.services), func(s releaseService) bool { return s.role != step.Role.Name })
	var (
		plan  apply.Plan
		found = running{objects: state.Objects}
		ends  []endpoint
	)
	selected := selectedBy(serving(state.Objects, bodies(state.Objects))) // before the reading, which may state replicas
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if state, err = t.read(gctx, state); err == nil {
			plan, err = apply.Diff(gctx, t.client, state, apply.Options{Policy: policy, Roles: step.Release.Roles})
		}
		return err
	})
	group.Go(func() (err error) { found.pods, err = podsOf(gctx, t.client, selected); return err })
	group.Go(func() (err error) { ends, err = endpointsOf(gctx, t.client, services); return err })
	if err := group.Wait(); err != nil {
		return deploy.Comparison{}, observing(step.Role, err)
	}
	found.workloads = liveOnes(state)
	out := deploy.Comparison{Findings: plan.Findings, Present: state.Present()}
	out.Live, out.Failure = observe(ctx, t.client, step.Role, found)
	for _, c := range plan.Changes {
		out.Changes = append(out.Changes, deploy.Change{Role: step.Role.Name, Object: c.Object.String(), Action: c.Action, Fields: c.Fields})
	}
	out.Changes = append(out.Changes, podChanges(step.Role, found)...)
	traffic, err := trafficTo(ctx, t.client, ends, releasePods, services, found.pods)
	if err != nil {
		return deploy.Comparison{}, err
	}
	out.Live.Note, out.Live.Info = traffic.note(), joined(out.Live.Info, traffic.info())
	return out, nil
}

// liveOnes are the live objects of a role that serve.
func liveOnes(state apply.State) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range state.Objects {
		if live := state.Live(o.ID); live != nil && o.Serves() {
			out = append(out, live)
		}
	}
	return out
}

func bodies(objects []*object.Object) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		out[i] = o.Body
	}
	return out
}

// observing says that what runs for a role could not be read. Of a cluster that is away
// it does not say what was to be read: of what is read at once, chance has one fail first.
func observing(role release.Role, err error) error {
	var away *client.UnreachableError
	if errors.As(err, &away) {
		err = away
	}
	return fmt.Errorf("observe role %s: %w", role.Name, err)
}

// joined is what two texts say, either of which may say nothing.
func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// observe tells from what was read what runs for a role now: the digests that the runtime
// reports for the role's containers in the pods that are ready, old ones too. It trusts no
// image name: a pod whose runtime reports no digest counts as running none. Jobs and
// CronJobs serve nothing and are not counted. The failure is why it does not run as it should, if that is known.
func observe(ctx context.Context, c *client.Client, role release.Role, r running) (release.Live, *release.Failure) {
	live := liveOf(role, r, time.Now())
	if p := faulty(role, r, live); p != nil {
		return live, rollout.Explain(ctx, c, role.Name, p)
	}
	return live, nil
}

// faulty is the pod that tells why a role is not up or not steady; nil if it is both.
func faulty(role release.Role, r running, live release.Live) *corev1.Pod {
	if live.Unsteady == "" && live.Ready >= live.Desired {
		return nil
	}
	own := r.ownPods(role)
	if p := steadinessOf(own, live.At).pod; p != nil {
		return p
	}
	var newest *corev1.Pod
	for _, p := range own {
		if !object.PodReady(p) && (newest == nil || newest.CreationTimestamp.Before(&p.CreationTimestamp)) {
			newest = p
		}
	}
	return newest
}
