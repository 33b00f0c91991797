package kube

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// replace deletes a Job, whose template cannot change, and waits until it is gone.
func (c *Cluster) replace(ctx context.Context, o *object, uid types.UID) error {
	if err := c.remove(ctx, o.kind, o.id, uid); err != nil {
		return err
	}
	return c.gone(ctx, o, uid)
}

// gone waits until an object that is being deleted is no more.
func (c *Cluster) gone(ctx context.Context, o *object, uid types.UID) error {
	return c.until(ctx, o, func(live *unstructured.Unstructured) bool { return live == nil || live.GetUID() != uid })
}

// established waits until the server serves a kind that was defined. live is the
// definition as it was before, if there was one.
func (c *Cluster) established(ctx context.Context, o *object, live *unstructured.Unstructured) error {
	isEstablished := func(u *unstructured.Unstructured) bool {
		status, _ := condition(u, "Established")
		return status == "True"
	}
	if live != nil && isEstablished(live) {
		return nil
	}
	return c.until(ctx, o, func(u *unstructured.Unstructured) bool { return u != nil && isEstablished(u) })
}

// until watches one object until is holds, 30 seconds at most; nil stands for a
// deleted one.
func (c *Cluster) until(ctx context.Context, o *object, is func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("%s did not get there in 30s", o.id))
	defer cancel()
	for ctx.Err() == nil {
		live, err := c.find(ctx, o.kind, o.id.Namespace, o.id.Name)
		if err != nil {
			return err
		}
		if is(live) {
			return nil
		}
		from := ""
		if live != nil {
			from = live.GetResourceVersion()
		}
		w, err := c.objects.Resource(o.kind.gvr).Namespace(o.id.Namespace).Watch(ctx, metav1.ListOptions{
			FieldSelector: "metadata.name=" + o.id.Name, ResourceVersion: from,
		})
		if err != nil {
			return c.explain(err)
		}
		if follow(w, is) {
			return nil
		}
	}
	return context.Cause(ctx)
}

func follow(w watch.Interface, is func(*unstructured.Unstructured) bool) bool {
	defer w.Stop()
	for event := range w.ResultChan() {
		u, ok := event.Object.(*unstructured.Unstructured)
		switch {
		case !ok:
		case event.Type == watch.Deleted && is(nil):
			return true
		case event.Type != watch.Deleted && is(u):
			return true
		}
	}
	return false
}

// condition is the status and the message of a condition; empty if there is none.
func condition(u *unstructured.Unstructured, kind string) (status, message string) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		if m, ok := item.(map[string]any); ok && m["type"] == kind {
			status, _ = m["status"].(string)
			message, _ = m["message"].(string)
			return status, message
		}
	}
	return "", ""
}
