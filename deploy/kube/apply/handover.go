package apply

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// handover gives the replicas that a release does not state any more to the autoscaler
// that scales the workload from now on. Without it the server would put its default,
// one, in the place of what shipit gives up. The way is that of the Kubernetes
// documentation of server-side apply, "Transferring ownership between managers": a
// second field manager owns the number until the autoscaler sets another one.
type handover struct {
	c     *client.Client
	roles []release.Role // of the whole release
}

// replicas is the number that has to be handed over with an object; nil if none has.
func (h handover) replicas(ctx context.Context, o *object.Object, want map[string]any, live *unstructured.Unstructured) (any, error) {
	given := compare.ReplicasGivenUp(want, live)
	if given == nil {
		return nil, nil
	}
	scaled, err := h.autoscaled(ctx, o)
	if err != nil || !scaled {
		return nil, err
	}
	return given, nil
}

// autoscaled reports whether an autoscaler scales an object: one of the release, of
// whatever kind, or a live one.
func (h handover) autoscaled(ctx context.Context, o *object.Object) (bool, error) {
	for _, role := range h.roles {
		if role.Target != release.TargetKubernetes {
			continue
		}
		objects, err := object.Parse(role)
		if err != nil {
			return false, err
		}
		for _, other := range objects {
			if scales(other.Body, o.ID) {
				return true, nil
			}
		}
	}
	live, err := h.c.List(ctx, client.Autoscalers, o.ID.Namespace, "")
	if err != nil {
		return false, fmt.Errorf("find the autoscaler of %s: %w", o.ID, err)
	}
	for i := range live {
		if scales(&live[i], o.ID) {
			return true, nil
		}
	}
	return false, nil
}

// scales reports whether an object says that it scales another one, as
// HorizontalPodAutoscalers and KEDA's ScaledObjects do.
func scales(u *unstructured.Unstructured, target object.ID) bool {
	ref, _, _ := unstructured.NestedStringMap(u.Object, "spec", "scaleTargetRef")
	group, _, grouped := strings.Cut(ref["apiVersion"], "/")
	if !grouped {
		group = target.Group // the core has nothing that scales: KEDA lets it be left out
	}
	return u.GetNamespace() == target.Namespace && ref["name"] == target.Name && cmp.Or(ref["kind"], "Deployment") == target.Kind && group == target.Group
}

// handOver lets the second manager own the replicas of an object, if they have to be
// handed over.
func (r *run) handOver(ctx context.Context, o *object.Object, want map[string]any, live *unstructured.Unstructured) error {
	replicas, err := handover{r.c, r.o.Roles}.replicas(ctx, o, want, live)
	if err != nil || replicas == nil {
		return err
	}
	body := map[string]any{
		"apiVersion": o.Body.GetAPIVersion(), "kind": o.Body.GetKind(),
		"metadata": map[string]any{"name": o.ID.Name, "namespace": o.ID.Namespace},
		"spec":     map[string]any{"replicas": replicas},
	}
	_, err = r.c.Apply(ctx, o, body, client.ApplyOptions{Manager: object.HandoverManager})
	switch {
	case apierrors.IsConflict(err):
		return nil // the autoscaler has set another number in the meantime, and owns it
	case err != nil:
		return fmt.Errorf("hand over the replicas: %w", err)
	}
	r.o.Progress.Report(release.Event{Phase: release.PhaseApply, Mark: release.MarkNote, Role: r.state.Role.Name,
		Message: fmt.Sprintf("%s: its %v replicas are left to the autoscaler", o.ID, replicas)})
	return nil
}
