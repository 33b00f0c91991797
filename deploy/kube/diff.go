package kube

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/release"
)

// Change is what an apply would do to one object.
type Change struct {
	Object ID
	Action Action
	Lines  []string // "- path: value" and "+ path: value", secrets masked; none for a new object
}

// Plan is what a release would do to a role's objects, as the server answers a dry run.
type Plan struct {
	Changes  []Change          // in the order of the role's objects, then the pruned; without the unchanged
	Findings []release.Finding // what the server would refuse
}

// Diff tries every object of the role on the server and changes nothing.
func (c *Cluster) Diff(ctx context.Context, role release.Role, o ApplyOptions) (Plan, error) {
	t := &trial{c: c, role: role.Name, policy: o.policy(), looks: true}
	objects, set, before, err := c.stock(ctx, role, o)
	if err != nil {
		return Plan{}, err
	}
	t.set, t.before = set, before
	changes, findings := make([]*Change, len(objects)), make([][]release.Finding, len(objects))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, obj := range objects {
		group.Go(func() error {
			var err error
			changes[i], findings[i], err = t.one(gctx, obj, objects)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Plan{}, err
	}
	var plan Plan
	for i := range objects {
		plan.Findings = append(plan.Findings, findings[i]...)
		if changes[i] != nil {
			plan.Changes = append(plan.Changes, *changes[i])
		}
	}
	gone, err := c.obsolete(role, t.before, objects, o)
	if err != nil {
		return Plan{}, err
	}
	for _, id := range sorted(gone) {
		if !keptKinds[id.Kind] {
			plan.Changes = append(plan.Changes, Change{Object: id, Action: Pruned})
		}
	}
	return plan, nil
}

// trial is one Diff under way.
type trial struct {
	c      *Cluster
	role   string
	set    applySet
	before inventory
	policy policy
	looks  bool // reads what is there and no member yet, for the difference
}

// one tries one object. No change and no finding: it is as it should be.
func (t *trial) one(ctx context.Context, o *object, all []*object) (*Change, []release.Finding, error) {
	live := t.before.members[o.id].live
	if live == nil && t.looks {
		var err error
		if live, err = t.c.find(ctx, o.kind, o.id.Namespace, o.id.Name); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", o.id, err)
		}
	}
	if t.set.has(o, live, t.policy) {
		return nil, nil, nil
	}
	if failedJob(live) {
		return &Change{Object: o.id, Action: Replaced}, nil, nil
	}
	want := t.set.claim(o)
	cedeBeforehand(want, live, t.policy)
	got, err := t.c.apply(ctx, o, want, patchOptions{dryRun: true, strict: true, whole: true}, t.policy)
	switch {
	case err == nil && live == nil, apierrors.IsNotFound(err) && awaited(o, all):
		return &Change{Object: o.id, Action: Created}, nil, nil
	case err == nil:
		lines := differences(live, got.whole)
		if len(lines) == 0 {
			return nil, nil, nil
		}
		return &Change{Object: o.id, Action: Configured, Lines: lines}, nil, nil
	case o.id.Kind == "Job" && live != nil && apierrors.IsInvalid(err):
		return &Change{Object: o.id, Action: Replaced}, nil, nil
	}
	findings := refusals(t.role, o.id, err)
	if findings == nil {
		return nil, nil, fmt.Errorf("try %s: %w", o.id, err)
	}
	return nil, findings, nil
}

// awaited reports whether an object can only be tried after another of the same
// release is there: its namespace, or the definition of its kind.
func awaited(o *object, all []*object) bool {
	for _, other := range all {
		if other.id.Kind == "Namespace" && other.id.Name == o.id.Namespace {
			return true
		}
		if other.id.Kind == "CustomResourceDefinition" {
			group, _, _ := unstructured.NestedString(other.body.Object, "spec", "group")
			name, _, _ := unstructured.NestedString(other.body.Object, "spec", "names", "kind")
			if group == o.kind.gk.Group && name == o.kind.gk.Kind {
				return true
			}
		}
	}
	return false
}

// refusals turns the server's answer into findings, one a field; nil if the
// answer is no verdict on the object.
func refusals(role string, id ID, err error) []release.Finding {
	finding := func(code release.Code, message, hint string) release.Finding {
		return release.Finding{Code: code, Severity: release.Refuses, Role: role, Object: id.String(), Message: oneLine(message), Hint: hint}
	}
	var conflict *ConflictError
	var forbidden *ForbiddenError
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &conflict):
		var out []release.Finding
		for _, f := range conflict.Conflicts {
			out = append(out, finding(release.CodeFieldConflict, fmt.Sprintf("%s is owned by %q", f.Field, f.Owner), conflict.Hint()))
		}
		return out
	case errors.As(err, &forbidden):
		f := finding(release.CodeForbidden, forbidden.Error(), forbidden.Hint())
		f.Fixed = true
		return []release.Finding{f}
	case !errors.As(err, &status):
		return nil
	}
	s := status.Status()
	fixed := func(f release.Finding) release.Finding { f.Fixed = true; return f }
	switch {
	case apierrors.IsInvalid(err) && s.Details != nil && len(s.Details.Causes) > 0:
		var out []release.Finding
		for _, cause := range s.Details.Causes {
			out = append(out, fixed(finding(release.CodeInvalidObject, cause.Field+": "+cause.Message, "")))
		}
		return out
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), s.Code == 500 && schemaFault(s.Message):
		return []release.Finding{fixed(finding(release.CodeInvalidObject, s.Message, ""))}
	case webhookAway(s.Message):
		return []release.Finding{finding(release.CodeWebhookUnreachable, s.Message, "an admission webhook does not answer; nothing can be applied until it does")}
	case apierrors.IsForbidden(err):
		return []release.Finding{fixed(finding(admissionCode(s.Message), s.Message, ""))}
	case apierrors.IsNotFound(err):
		return []release.Finding{fixed(finding(release.CodeNamespaceMissing, s.Message, "`kubectl create namespace "+id.Namespace+"` makes it, or put it among the role's manifests"))}
	}
	return nil
}

// rehearse is an Apply that changes nothing. Its error is a *release.Refusal.
func (c *Cluster) rehearse(ctx context.Context, role release.Role, o ApplyOptions) (Applied, error) {
	plan, err := c.Diff(ctx, role, o)
	if err != nil {
		return Applied{}, err
	}
	var a Applied
	for _, change := range plan.Changes {
		a.Results = append(a.Results, Result{change.Object, change.Action})
	}
	return a, release.Refuse(plan.Findings, nil)
}
