package client

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// untilLimit is how long Until waits.
const untilLimit = 30 * time.Second

// WatchFunc opens one watch.
type WatchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error)

// Watch opens watches of a kind in a namespace, whose objects are unstructured.
func (c *Client) Watch(k object.Kind, namespace string) WatchFunc {
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := c.dynamic.Resource(k.GVR).Namespace(namespace).Watch(ctx, o)
		return w, c.explain(err)
	}
}

// WatchMetadata opens watches of the metadata of a kind in a namespace.
func (c *Client) WatchMetadata(k object.Kind, namespace string) WatchFunc {
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := c.metadata.Resource(k.GVR).Namespace(namespace).Watch(ctx, o)
		return w, c.explain(err)
	}
}

// WatchTyped opens watches of a kind in a namespace, whose objects are Go types.
func (c *Client) WatchTyped(k object.Kind, namespace string) WatchFunc {
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.Watch = true
		w, err := c.rest().Get().AbsPath(k.Path(namespace, "")).VersionedParams(&o, c.typed.params).Watch(ctx)
		return w, c.explain(err)
	}
}

// Until watches one object until a condition holds, for at most 30 seconds. The
// condition is given nil when the object does not exist.
func (c *Client) Until(ctx context.Context, o *object.Object, holds func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, untilLimit, fmt.Errorf("%s did not get there in %s", o.ID, untilLimit))
	defer cancel()
	for ctx.Err() == nil {
		live, err := c.Find(ctx, o.Kind, o.ID.Namespace, o.ID.Name)
		if err != nil {
			return err
		}
		if holds(live) {
			return nil
		}
		from := ""
		if live != nil {
			from = live.GetResourceVersion()
		}
		w, err := c.Watch(o.Kind, o.ID.Namespace)(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + o.ID.Name, ResourceVersion: from})
		if err != nil {
			return err
		}
		if watchUntil(w, holds) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// watchUntil reads one watch until the condition holds; false: the watch ended first.
func watchUntil(w watch.Interface, holds func(*unstructured.Unstructured) bool) bool {
	defer w.Stop()
	for event := range w.ResultChan() {
		u, ok := event.Object.(*unstructured.Unstructured)
		switch {
		case !ok:
		case event.Type == watch.Deleted && holds(nil):
			return true
		case event.Type != watch.Deleted && holds(u):
			return true
		}
	}
	return false
}
