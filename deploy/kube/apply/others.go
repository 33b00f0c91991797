package apply

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// fewByName is how many objects of a collection are read by name; of more the whole
// collection's metadata is listed first.
const fewByName = 2

// readOthers reads the objects that are no members of the set and exist all the same:
// another hand made them.
func (r *reader) readOthers(ctx context.Context, objects []*object.Object) error {
	r.mu.Lock()
	absent := map[collection][]*object.Object{}
	for _, o := range objects {
		if _, ok := r.into[o.ID]; !ok {
			at := collection{o.Kind, o.ID.Namespace}
			absent[at] = append(absent[at], o)
		}
	}
	r.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for from, list := range absent {
		group.Go(func() error {
			existing, err := r.existing(ctx, from, list)
			if err != nil {
				return err
			}
			for _, o := range existing {
				if err := r.readOther(ctx, o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// existing are those of a collection's objects that may exist.
func (r *reader) existing(ctx context.Context, from collection, list []*object.Object) ([]*object.Object, error) {
	r.mu.Lock()
	all, listed := r.metadata[from]
	r.mu.Unlock()
	if !listed && len(list) <= fewByName {
		return list, nil
	}
	if !listed {
		var err error
		if all, err = r.listMetadata(ctx, from); err != nil {
			return nil, err
		}
	}
	names := map[string]bool{}
	for _, item := range all {
		names[item.Name] = true
	}
	return slices.DeleteFunc(list, func(o *object.Object) bool { return !names[o.ID.Name] }), nil
}

// listMetadata lists all objects of a collection without their content.
func (r *reader) listMetadata(ctx context.Context, from collection) ([]metav1.PartialObjectMetadata, error) {
	list, err := r.c.ListMetadata(ctx, from.kind, from.namespace, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) { // the kind may be defined by this very release
		return nil, fmt.Errorf("list %s: %w", from.kind.GVR.Resource, err)
	}
	var all []metav1.PartialObjectMetadata
	if err == nil {
		all = list.Items
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metadata[from] = all
	return all, nil
}

func (r *reader) isMember(m metav1.PartialObjectMetadata) bool {
	return r.set.hasLabels(m.Labels)
}

func (r *reader) readOther(ctx context.Context, o *object.Object) error {
	live, err := r.c.Find(ctx, o.Kind, o.ID.Namespace, o.ID.Name)
	if err != nil {
		return fmt.Errorf("read %s: %w", o.ID, err)
	}
	if live != nil {
		r.addOther(o, live)
	}
	return nil
}

func (r *reader) addOther(o *object.Object, live *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.others[o.ID] = Member{Kind: o.Kind, Live: live}
}
