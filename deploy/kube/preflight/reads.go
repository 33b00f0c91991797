package preflight

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// objectRead is one object, read once for all checks that ask for it.
type objectRead struct {
	once sync.Once
	live *unstructured.Unstructured // nil: it does not exist
	err  error                      // a *client.ForbiddenError: it may not be read
}

// read gives an object as it will be: the release's own, else the live one. nil: there
// will be none.
func (r *run) read(ctx context.Context, id object.ID) (*unstructured.Unstructured, error) {
	if o, ok := r.brought[id]; ok {
		return o.Body, nil
	}
	r.mu.Lock()
	got := r.reads[id]
	if got == nil {
		got = &objectRead{}
		r.reads[id] = got
	}
	r.mu.Unlock()
	got.once.Do(func() {
		k, ok, err := r.c.KindOf(schema.GroupKind{Group: id.Group, Kind: id.Kind})
		if err != nil || !ok {
			got.err = err
			return
		}
		got.live, got.err = r.c.Get(ctx, k, id.Namespace, id.Name)
		if apierrors.IsNotFound(got.err) {
			got.live, got.err = nil, nil
		}
	})
	return got.live, got.err
}

// readState reads what a role has in the cluster. Where the caller may not read it,
// the inventory is empty, and that is a finding.
func (r *run) readState(ctx context.Context, of *role) (apply.State, error) {
	s := apply.State{Role: of.Role.Role, Objects: of.objects, Set: of.set}
	inventory, err := apply.ReadInventory(ctx, r.c, of.set, of.objects)
	if forbidden := client.IsForbidden(err); forbidden != nil {
		r.found(release.Finding{Code: release.CodeForbidden, Severity: release.Refuses, Fixed: true, Message: forbidden.Error(), Hint: forbidden.Hint()})
		return s, nil
	}
	s.Inventory = inventory
	return s, err
}

// collection is the workloads of one kind in one namespace.
type collection struct {
	kind      object.Kind
	namespace string
}

// workloadRead are the live workloads of a collection that the release has, read once
// for all checks that ask for them.
type workloadRead struct {
	once  sync.Once
	found map[object.ID]*unstructured.Unstructured
	err   error
}

// live is a workload as it is in the cluster, nil if it does not exist; known is
// false if the caller may not read it, which is a finding of its own.
func (r *run) live(ctx context.Context, of *role, o *object.Object) (live *unstructured.Unstructured, known bool, err error) {
	state, err := of.state()
	if m, ok := state.Inventory.Members[o.ID]; ok || err != nil {
		return m.Live, err == nil, err
	}
	// It does not exist, or is no member yet.
	at := collection{o.Kind, o.ID.Namespace}
	r.mu.Lock()
	got := r.lists[at]
	if got == nil {
		got = &workloadRead{found: map[object.ID]*unstructured.Unstructured{}}
		r.lists[at] = got
	}
	r.mu.Unlock()
	got.once.Do(func() {
		list, err := r.c.Live(ctx, r.workloadsAt(at))
		for _, u := range list {
			got.found[object.IDOf(u)] = u
		}
		got.err = err
	})
	if client.IsForbidden(got.err) != nil {
		return nil, false, nil
	}
	return got.found[o.ID], got.err == nil, got.err
}

func (r *run) workloadsAt(at collection) []*object.Object {
	var out []*object.Object
	for _, role := range r.roles {
		for _, w := range role.workloads {
			if w.Kind == at.kind && w.ID.Namespace == at.namespace {
				out = append(out, w.Object)
			}
		}
	}
	return out
}

// createsPods reports whether a workload would create pods. One that the caller may
// not read is taken to.
func (r *run) createsPods(ctx context.Context, of *role, w workload) (bool, error) {
	live, known, err := r.live(ctx, of, w.Object)
	return err == nil && (!known || live == nil || w.replicas > object.Replicas(live) || !sameTemplate(w, live)), err
}

// sameTemplate reports whether a live workload's pods are as the release has them.
func sameTemplate(w workload, live *unstructured.Unstructured) bool {
	return compare.Covers(object.PodTemplate(w.Body), object.PodTemplate(live))
}

// anyCreatesPods reports whether any workload would create pods: only then capacity
// is needed.
func (r *run) anyCreatesPods(ctx context.Context) (bool, error) {
	for _, role := range r.roles {
		for _, w := range role.workloads {
			if creates, err := r.createsPods(ctx, role, w); err != nil || creates {
				return creates, err
			}
		}
	}
	return false, nil
}

// unchecked reports that something is not checked because the caller may not read
// it; other errors are returned.
func (r *run) unchecked(what string, err error) error {
	forbidden := client.IsForbidden(err)
	if forbidden == nil {
		return err
	}
	r.found(release.Finding{Code: release.CodeUnchecked, Severity: release.Warns, Message: what + " not checked: " + forbidden.Error(), Hint: forbidden.Hint()})
	return nil
}
