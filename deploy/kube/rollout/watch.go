package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// minPause is the shortest pause before a watch is opened again.
const minPause = 50 * time.Millisecond

// watcher is one watch: a kind in a namespace. It starts with everything that
// exists, and goes on over dropped connections and restarts of the API server.
type watcher struct {
	what     string // for errors
	selector string // labels
	fields   string // field selector
	open     client.WatchFunc
}

// watchEvent is what a watcher tells.
type watchEvent struct {
	from    *watcher
	resync  bool // the watcher starts again: what it told before no longer counts
	deleted bool
	object  runtime.Object
}

// watchers are the watches of a rollout: one for each kind and namespace that is
// waited for, and where that creates pods, one for the pods and one for the
// ReplicaSets between.
func (r *run) watchers() []*watcher {
	type collection struct {
		kind      object.Kind
		namespace string
	}
	collections, withPods := map[collection]bool{}, map[string]bool{}
	for _, id := range r.order {
		t := r.tracked[id]
		collections[collection{t.Kind, id.Namespace}] = true
		if object.PodTemplate(t.Body) != nil || id.IsPod() {
			withPods[id.Namespace] = true
		}
	}
	var out []*watcher
	for c := range collections {
		out = append(out, &watcher{what: c.kind.GVR.Resource, selector: r.o.Selector, open: r.c.Watch(c.kind, c.namespace)})
	}
	for ns := range withPods {
		selector := r.podSelector(ns)
		out = append(out,
			&watcher{what: "pods", selector: selector, open: r.c.WatchTyped(client.Pods, ns)},
			&watcher{what: "replicasets", selector: selector, open: r.c.WatchMetadata(client.ReplicaSets, ns)})
	}
	return out
}

// eventWatchers are the watches of events of type Warning. They are opened only when
// something is not ready after a moment: most releases need none.
func (r *run) eventWatchers() []*watcher {
	var out []*watcher
	for _, id := range r.order {
		if r.tracked[id].status.Ready || r.eventsWatched[id.Namespace] || id.Namespace == "" {
			continue
		}
		r.eventsWatched[id.Namespace] = true
		out = append(out, &watcher{what: "events", fields: "type=" + corev1.EventTypeWarning, open: r.c.WatchTyped(client.Events, id.Namespace)})
	}
	return out
}

// podSelector selects the labels that the pods of all workloads of a namespace have in
// common, so that other pods are not read; "" if they have none.
func (r *run) podSelector(namespace string) string {
	var common map[string]string
	for _, id := range r.order {
		if id.Namespace != namespace {
			continue
		}
		body := r.tracked[id].Body
		of := body.GetLabels()
		if t := object.PodTemplate(body); t != nil {
			of, _, _ = unstructured.NestedStringMap(t, "metadata", "labels")
		} else if id.Kind != "Pod" {
			continue
		}
		common = object.CommonLabels(common, of)
	}
	return labels.Set(common).String()
}

// run tells events until the context ends. The error says that the watch is not
// possible: forbidden, or of a kind that the server does not have.
func (w *watcher) run(ctx context.Context, events chan<- watchEvent) error {
	from, pause, worked := "", minPause, false
	for ctx.Err() == nil {
		if from == "" && !send(ctx, events, watchEvent{from: w, resync: true}) {
			break
		}
		opened, err := w.open(ctx, metav1.ListOptions{
			LabelSelector: w.selector, FieldSelector: w.fields, ResourceVersion: from, AllowWatchBookmarks: true,
		})
		switch {
		case err == nil:
			next, told := w.read(ctx, opened, from, events)
			from, worked = next, worked || told
			if told {
				pause = minPause
			}
		case expired(err):
			from = ""
		case impossible(err) && !worked:
			// After it has worked once, a refusal is that of a server that starts again.
			return fmt.Errorf("watch %s: %w", w.what, err)
		}
		// A server that is away or busy is given time.
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
	return context.Cause(ctx)
}

// read reads one connection to its end. next is the version from which to go on, "" to
// start again. told is false if the connection brought nothing.
func (w *watcher) read(ctx context.Context, opened watch.Interface, from string, events chan<- watchEvent) (next string, told bool) {
	defer opened.Stop()
	for event := range opened.ResultChan() {
		if event.Type == watch.Error {
			if expired(apierrors.FromObject(event.Object)) {
				return "", told
			}
			return from, told
		}
		told = true
		if m, err := meta.Accessor(event.Object); err == nil && m.GetResourceVersion() != "" {
			from = m.GetResourceVersion()
		}
		if event.Type == watch.Bookmark {
			continue
		}
		if !send(ctx, events, watchEvent{from: w, deleted: event.Type == watch.Deleted, object: event.Object}) {
			break
		}
	}
	return from, told
}

func send(ctx context.Context, events chan<- watchEvent, e watchEvent) bool {
	select {
	case events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// expired reports that the server no longer has the version that a watch would go on
// from.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// impossible reports that a watch will not be possible later either.
func impossible(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err)
}
