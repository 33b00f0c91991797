package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// State is what a role is to have in the cluster, and what it has.
type State struct {
	Role      release.Role
	Objects   []*object.Object // in the order of the role
	Set       Set
	Inventory Inventory
}

// Live is one of the role's objects as it is in the cluster, whoever made it; nil: it
// does not exist.
func (s State) Live(id object.ID) *unstructured.Unstructured {
	if m, ok := s.Inventory.Members[id]; ok {
		return m.Live
	}
	return s.Inventory.Others[id].Live
}

// Inventory are the members of a role's ApplySet, and what stands in their way.
type Inventory struct {
	Members map[object.ID]Member
	Others  map[object.ID]Member       // objects that the role wants, and that exist without being members
	parent  *unstructured.Unstructured // nil: there is none yet
	extent  extent                     // as the parent keeps it
}

// Member is a live object.
type Member struct {
	Kind object.Kind
	Live *unstructured.Unstructured
	Kept bool // it cannot be created again: once it is no more wanted it leaves the set, and stays
}

// collection is the objects of one kind in one namespace: one list request.
type collection struct {
	kind      object.Kind
	namespace string
}

// ReadInventory reads the set's parent; then the members in every kind and namespace
// that the objects have or the parent names, and the objects that exist without being
// members. An object that was scaled to nothing is made to state its replicas.
func ReadInventory(ctx context.Context, c *client.Client, s Set, objects []*object.Object) (Inventory, error) {
	parent, err := readParent(ctx, c, s)
	if err != nil {
		return Inventory{}, fmt.Errorf("read what role %s has: %w", s.Role, err)
	}
	r := reader{c: c, set: s, into: map[object.ID]Member{}, others: map[object.ID]Member{}, metadata: map[collection][]metav1.PartialObjectMetadata{}}
	wanted := map[collection]bool{}
	for _, o := range objects {
		wanted[collection{o.Kind, o.ID.Namespace}] = true
	}
	rest, err := r.missing(recordedExtent(parent), wanted)
	if err == nil {
		maps.Copy(wanted, rest)
		err = r.read(ctx, wanted, parent == nil)
	}
	if err == nil {
		err = r.readOthers(ctx, objects)
	}
	if err == nil {
		err = r.stateReplicas(ctx, objects)
	}
	if err != nil {
		return Inventory{}, fmt.Errorf("read what role %s has: %w", s.Role, err)
	}
	for id, m := range r.into {
		m.Kept = isKept(id, m.Live, parent)
		r.into[id] = m
	}
	return Inventory{Members: r.into, Others: r.others, parent: parent, extent: recordedExtent(parent)}, nil
}

// readParent reads the set's parent, or the one that it had under its former name;
// nil if there is neither.
func readParent(ctx context.Context, c *client.Client, s Set) (*unstructured.Unstructured, error) {
	for _, parent := range []object.ID{s.Parent, s.before.parent} {
		got, err := c.Get(ctx, client.ConfigMaps, parent.Namespace, parent.Name)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err == nil && s.isParent(got) {
			return got, nil
		}
	}
	return nil, nil
}

// isParent reports whether a ConfigMap is the set's parent, and not a record or the
// parent of a set that had the same name once.
func (s Set) isParent(u *unstructured.Unstructured) bool {
	labels := u.GetLabels()
	return labels[idLabel] != "" && labels[object.AppLabel] == s.App && labels[object.RoleLabel] == s.Role
}

// reader collects the members of a set, and the other objects that are wanted.
type reader struct {
	c      *client.Client
	set    Set
	mu     sync.Mutex
	into   map[object.ID]Member
	others map[object.ID]Member

	metadata map[collection][]metav1.PartialObjectMetadata // of all objects of the collections that were listed so
}

// read lists the members in collections at the same time. Of a set that is new all
// objects are listed by their metadata: there will be no members.
func (r *reader) read(ctx context.Context, collections map[collection]bool, isNew bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for from := range collections {
		group.Go(func() error {
			if isNew {
				found, err := r.listMetadata(ctx, from)
				if err != nil || !slices.ContainsFunc(found, r.isMember) {
					return err
				}
			}
			return r.list(ctx, from)
		})
	}
	return group.Wait()
}

func (r *reader) list(ctx context.Context, from collection) error {
	items, err := r.c.List(ctx, from.kind, from.namespace, r.set.Selector())
	if apierrors.IsNotFound(err) {
		return nil // the kind is defined by this very release
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", from.kind.GVR.Resource, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range items {
		u := &items[i]
		if !r.set.has(u) {
			continue
		}
		gk := from.kind.GroupKind
		r.into[object.ID{Group: gk.Group, Kind: gk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}] = Member{Kind: from.kind, Live: u}
	}
	return nil
}

// missing are the collections of an extent that have not been read yet.
func (r *reader) missing(e extent, done map[collection]bool) (map[collection]bool, error) {
	rest := map[collection]bool{}
	for gk := range e.kinds {
		k, known, err := r.kindOf(gk, done)
		if err != nil {
			return nil, fmt.Errorf("find the kind %s: %w", gk, err)
		}
		if !known {
			continue // its definition is gone, and its objects with it
		}
		namespaces := e.namespaces
		if !k.Namespaced {
			namespaces = map[string]bool{"": true}
		}
		for n := range namespaces {
			if !done[collection{k, n}] {
				rest[collection{k, n}] = true
			}
		}
	}
	return rest, nil
}

// kindOf prefers the version in which the role's own objects are written.
func (r *reader) kindOf(gk schema.GroupKind, done map[collection]bool) (object.Kind, bool, error) {
	for from := range done {
		if from.kind.GroupKind == gk {
			return from.kind, true, nil
		}
	}
	return r.c.KindOf(gk)
}

// writeParent records where the set's members are or will be. Nothing is written if
// the parent says so already.
func writeParent(ctx context.Context, c *client.Client, s Set, parent *unstructured.Unstructured, e extent) error {
	want := anyMap(e.annotations(s.Parent.Namespace))
	if parent != nil && compare.Covers(want, anyMap(parent.GetAnnotations())) && parent.GetLabels()[idLabel] == s.ID {
		return nil
	}
	body := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": s.Parent.Name, "namespace": s.Parent.Namespace, "annotations": want,
			"labels": map[string]any{idLabel: s.ID, object.AppLabel: s.App, object.RoleLabel: s.Role, object.ManagedByLabel: object.Manager},
		},
	}
	if _, err := c.Apply(ctx, &object.Object{ID: s.Parent, Kind: client.ConfigMaps}, body, client.ApplyOptions{Force: true}); err != nil {
		return fmt.Errorf("apply the ApplySet's parent %s: %w", s.Parent, err)
	}
	return nil
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
