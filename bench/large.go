package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// largeRows measures one release of many: a new image for 200 Deployments of 5
// pods each, among 500 objects. It is done once: the pods take their time. helm 3 and kapp
// are left out of it, because they take minutes.
func largeRows(ctx context.Context, g *environment, t *table) error {
	if g.real {
		return nil // one node cannot hold them
	}
	large := *g
	large.limit = 5 * time.Minute
	before, after := variant{objects: 500, fleet: 199}, variant{objects: 500, fleet: 199, image: 1}
	c := costs{}
	quick := slices.DeleteFunc(slices.Clone(t.tools), func(t tool) bool { return t.name == "helm" || t.name == "kapp" })
	for _, tool := range quick {
		d, err := large.start(ctx, tool, "large", before)
		if err != nil {
			return err
		}
		if err := tool.commands.write(ctx, d, after); err != nil {
			return err
		}
		if _, err := c.of(ctx, d, tool.commands.deploy(d)); err != nil {
			return err
		}
		if err := d.clear(ctx); err != nil {
			return err
		}
	}
	const section = "A new image for 1,000 pods, once"
	c.rows(t, section, fmt.Sprintf("%d objects, 200 Deployments", after.objects))
	t.among(section, quick)
	return nil
}

// clear takes a namespace away, so that its pods are no burden for the next tool.
func (d deployment) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limit, errors.New(d.namespace+" does not go away"))
	defer cancel()
	namespaces := d.client.CoreV1().Namespaces()
	gone, err := namespaces.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + d.namespace})
	if err != nil {
		return err
	}
	defer gone.Stop()
	if err := namespaces.Delete(ctx, d.namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for event := range gone.ResultChan() {
		if event.Type == watch.Deleted {
			return nil
		}
	}
	return context.Cause(ctx)
}
