package preflight

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// maxDryRuns is how many objects, and how many pods, the server is asked to try: more
// would make a preflight take as long as the release.
const maxDryRuns = 10

// attempt is one object for the server to try.
type attempt struct {
	apply.DryRun
	object *object.Object
}

// dryRuns has the server try objects that would change: it says what it would refuse,
// by object and field. Of many objects the workloads are tried, and one of each other
// kind; apply.Diff tries all.
func (r *run) dryRuns(ctx context.Context) error {
	if r.o.DryRun {
		return nil
	}
	attempts, err := r.attempts()
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, a := range attempts {
		group.Go(func() error {
			_, findings, err := a.Object(gctx, a.object)
			r.refuse(findings...)
			return err
		})
	}
	return group.Wait()
}

func (r *run) attempts() ([]attempt, error) {
	var first, rest []attempt
	for _, role := range r.roles {
		state, err := role.state()
		if err != nil {
			return nil, err
		}
		if state.Inventory.Members == nil {
			continue // it could not be read, which is a finding
		}
		dryRun := apply.DryRun{Client: r.c, State: state, Policy: role.Policy, Roles: r.releaseRoles()}
		tried := map[object.Kind]bool{}
		for _, o := range role.objects {
			switch {
			case state.Set.Unchanged(o, state.Live(o.ID), role.Policy):
			case apply.IsWorkload(o.Kind) || !tried[o.Kind]:
				first, tried[o.Kind] = append(first, attempt{dryRun, o}), true
			default:
				rest = append(rest, attempt{dryRun, o})
			}
		}
	}
	if len(first)+len(rest) <= maxDryRuns {
		first = append(first, rest...)
	}
	return first[:min(len(first), maxDryRuns)], nil
}

// admission has the server admit a pod of each workload that would create pods, up to
// a maximum: so the namespace's Pod Security level, limits, classes and webhooks are
// asked. For a caller who may not create pods it is left out; the other checks find
// most of it.
func (r *run) admission(ctx context.Context) error {
	var tried atomic.Int32
	return r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		ns := w.ID.Namespace
		if r.brought[object.ID{Kind: "Namespace", Name: ns}] != nil {
			return nil
		}
		if creates, err := r.createsPods(ctx, role, w); err != nil || !creates || tried.Add(1) > maxDryRuns {
			return err
		}
		pod := &corev1.Pod{ObjectMeta: *w.pod.ObjectMeta.DeepCopy(), Spec: *w.pod.Spec.DeepCopy()}
		pod.Name, pod.GenerateName, pod.Namespace = "", "shipit-preflight-", ns
		err := r.c.Create(ctx, client.Pods, ns, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: object.Manager})
		if err == nil || client.IsForbidden(err) != nil {
			return nil
		}
		for _, f := range apply.Refusals(role.Name, w.ID, err) {
			f.Message = "the API server refuses its pod: " + f.Message
			f.Fixed = false
			r.refuse(f)
		}
		return nil
	})
}
