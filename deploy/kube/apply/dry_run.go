package apply

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Change is what an apply would do to one object.
type Change struct {
	Object object.ID
	Action release.Action
	Fields []release.FieldChange // that would change; none for a new object
}

// Plan is what an apply would do to a role's objects, as the server answers a dry run.
type Plan struct {
	Changes  []Change          // in the order of the role's objects, then the pruned; without the unchanged
	Findings []release.Finding // what the server would refuse
}

// Diff has the server try every object of the role in a dry run.
func Diff(ctx context.Context, c *client.Client, s State, o Options) (Plan, error) {
	try := DryRun{Client: c, State: s, Policy: o.Policy, Roles: o.Roles}
	changes, findings := make([]*Change, len(s.Objects)), make([][]release.Finding, len(s.Objects))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for i, obj := range s.Objects {
		group.Go(func() (err error) {
			changes[i], findings[i], err = try.Object(gctx, obj)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Plan{}, err
	}
	var plan Plan
	for i := range s.Objects {
		plan.Findings = append(plan.Findings, findings[i]...)
		if changes[i] != nil {
			plan.Changes = append(plan.Changes, *changes[i])
		}
	}
	gone, err := obsoleteIn(c, s, o.Roles)
	if err != nil {
		return Plan{}, err
	}
	for _, id := range sortedIDs(gone) {
		if !gone[id].Kept {
			plan.Changes = append(plan.Changes, Change{Object: id, Action: release.ActionPruned})
		}
	}
	return plan, nil
}

// DryRun tries objects of one role on the server, which changes nothing.
type DryRun struct {
	Client *client.Client
	State  State
	Policy compare.Policy
	Roles  []release.Role // of the whole release
}

// Object tries one object. No change and no finding: an apply would change nothing.
func (d DryRun) Object(ctx context.Context, o *object.Object) (*Change, []release.Finding, error) {
	live := d.State.Live(o.ID)
	if d.State.jobCompleted(o) || d.State.Set.Unchanged(o, live, d.Policy) {
		return nil, nil, nil
	}
	if object.FailedJob(live) {
		return &Change{Object: o.ID, Action: release.ActionReplaced}, nil, nil
	}
	want, err := d.wanted(ctx, o, live)
	if err != nil {
		return nil, nil, fmt.Errorf("try %s: %w", o.ID, err)
	}
	got, err := send(ctx, d.Client, request{o, want, client.ApplyOptions{DryRun: true, Strict: true, Whole: true}}, d.Policy)
	if t := compare.ByHand(want, live, d.Policy); !t.Empty() && (err == nil || apierrors.IsInvalid(err)) {
		// What is added by hand goes away as well, and may be what is invalid beside what is wanted.
		got.Object, err = tryTakeOver(ctx, d.Client, o, t, want)
	}
	switch {
	case err == nil && live == nil, apierrors.IsNotFound(err) && needsOther(o, d.State.Objects):
		return &Change{Object: o.ID, Action: release.ActionCreated}, nil, nil
	case err == nil:
		fields := compare.Fields(live, got.Object)
		if len(fields) == 0 {
			return nil, nil, nil
		}
		return &Change{Object: o.ID, Action: release.ActionConfigured, Fields: fields}, nil, nil
	case o.ID.Kind == "Job" && live != nil && apierrors.IsInvalid(err):
		return &Change{Object: o.ID, Action: release.ActionReplaced}, nil, nil
	}
	findings := Refusals(d.State.Role.Name, o.ID, err)
	if findings == nil {
		return nil, nil, fmt.Errorf("try %s: %w", o.ID, err)
	}
	return nil, findings, nil
}

// wanted is the object as it will be sent, with the replicas that are handed over with
// it: those stay.
func (d DryRun) wanted(ctx context.Context, o *object.Object, live *unstructured.Unstructured) (map[string]any, error) {
	want := d.State.Set.body(o)
	compare.CedeFields(want, live, d.Policy)
	replicas, err := handover{d.Client, d.Roles}.replicas(ctx, o, want, live)
	if err != nil || replicas == nil {
		return want, err
	}
	return want, unstructured.SetNestedField(want, replicas, "spec", "replicas")
}

// needsOther reports whether an object can only be tried when another of the same
// release exists: its namespace, or the definition of its kind.
func needsOther(o *object.Object, all []*object.Object) bool {
	for _, other := range all {
		if other.ID.Kind == "Namespace" && other.ID.Name == o.ID.Namespace {
			return true
		}
		if crd, ok := object.CRDOf(other.Body); ok && crd.GroupKind == o.Kind.GroupKind {
			return true
		}
	}
	return false
}
