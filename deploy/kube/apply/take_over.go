package apply

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// takeOverTries is how often an object is read again because somebody wrote it in the
// meantime.
const takeOverTries = 5

// takeOver makes the fields of other hands shipit's own, as kubectl does when it goes
// over to server-side apply: the apply that follows then removes those that the
// release does not state. It changes nothing but whose the fields are, and returns the
// object as it is then.
func (r *run) takeOver(ctx context.Context, o *object.Object, want map[string]any, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for try := 1; ; try++ {
		t := compare.ByHand(want, live, r.o.Policy)
		if t.Empty() {
			return live, nil
		}
		fields, err := t.ManagedFields()
		if err != nil {
			return nil, fmt.Errorf("take over: %w", err)
		}
		taken, err := r.c.Patch(ctx, o, []client.PatchOperation{
			{Op: "replace", Path: "/metadata/managedFields", Value: fields},
			{Op: "replace", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()},
		}, client.ApplyOptions{})
		switch {
		case err == nil:
			r.o.Progress.Report(release.Event{Phase: release.PhaseApply, Mark: release.MarkNote, Role: r.state.Role.Name,
				Message: o.ID.String() + ": the release's fields win over " + t.String()})
			return taken, nil
		case apierrors.IsNotFound(err):
			return nil, nil
		case !apierrors.IsConflict(err) || try == takeOverTries:
			return nil, fmt.Errorf("take over from %s: %w", t, err)
		}
		if live, err = r.c.Find(ctx, o.Kind, o.ID.Namespace, o.ID.Name); err != nil {
			return nil, err
		}
	}
}

// tryTakeOver has the server try what an object will be when what other hands have
// added to it is gone.
func tryTakeOver(ctx context.Context, c *client.Client, o *object.Object, t compare.Takeover, want map[string]any) (*unstructured.Unstructured, error) {
	next := t.Applied(want)
	var patch []client.PatchOperation
	for name := range namesOf(next, t.Live().Object) {
		if slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, name) {
			continue
		}
		patch = append(patch, operation("/"+name, t.Live().Object[name], next[name]))
	}
	old, _ := t.Live().Object["metadata"].(map[string]any)
	metadata, _ := next["metadata"].(map[string]any)
	for _, name := range []string{"labels", "annotations"} {
		patch = append(patch, operation("/metadata/"+name, old[name], metadata[name]))
	}
	patch = slices.DeleteFunc(patch, func(p client.PatchOperation) bool { return p.Op == "" })
	return c.Patch(ctx, o, patch, client.ApplyOptions{DryRun: true, Strict: true})
}

func namesOf(a, b map[string]any) map[string]bool {
	names := map[string]bool{}
	for _, m := range []map[string]any{a, b} {
		for name := range m {
			names[name] = true
		}
	}
	return names
}

// operation makes one value of an object another; without an Op there is nothing to do.
func operation(path string, old, now any) client.PatchOperation {
	switch {
	case old == nil && now == nil:
		return client.PatchOperation{}
	case now == nil:
		return client.PatchOperation{Op: "remove", Path: path}
	}
	return client.PatchOperation{Op: "add", Path: path, Value: now} // replaces what is there
}
