package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// feed is one watch: a kind in a namespace. It starts with everything that is
// there, and goes on over dropped connections and restarts of the API server.
type feed struct {
	what     string // for errors
	selector string
	fields   string
	open     func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// news is what a feed tells.
type news struct {
	feed   *feed
	reset  bool // forget all that the feed has told: it starts again
	gone   bool // the object was deleted
	object runtime.Object
}

// run hands on news until the context ends. The error says that no watch is
// possible: forbidden, or a kind that is not there.
func (f *feed) run(ctx context.Context, c *Cluster, tell chan<- news) error {
	from, pause, worked := "", 50*time.Millisecond, false
	for ctx.Err() == nil {
		if from == "" && !send(ctx, tell, news{feed: f, reset: true}) {
			break
		}
		w, err := f.open(ctx, metav1.ListOptions{
			LabelSelector: f.selector, FieldSelector: f.fields, ResourceVersion: from, AllowWatchBookmarks: true,
		})
		switch {
		case err == nil:
			next, told := f.follow(ctx, w, from, tell)
			from, worked = next, worked || told
			if told {
				pause = 50 * time.Millisecond
			}
		case outdated(err):
			from = ""
		case final(err) && !worked:
			// A server that starts again refuses everybody for a moment.
			return fmt.Errorf("watch %s: %w", f.what, c.explain(err))
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

// follow reads one connection to its end, and returns where to go on: "" to
// start again. told is false if the connection brought nothing.
func (f *feed) follow(ctx context.Context, w watch.Interface, from string, tell chan<- news) (next string, told bool) {
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			if outdated(apierrors.FromObject(event.Object)) {
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
		if !send(ctx, tell, news{feed: f, gone: event.Type == watch.Deleted, object: event.Object}) {
			break
		}
	}
	return from, told
}

func send(ctx context.Context, tell chan<- news, n news) bool {
	select {
	case tell <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// outdated reports that the server no longer has what a watch would go on from.
func outdated(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// final reports that a watch will not be possible later either.
func final(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), apierrors.IsBadRequest(err), apierrors.IsMethodNotSupported(err):
		return true
	}
	return false
}
