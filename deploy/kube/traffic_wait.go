package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// drainTime is how long pods that end and still answer are waited for: as long as
// Kubernetes gives a pod to end if nothing else is said. What takes longer, and what
// its finalizers or its node keep, is told of.
const drainTime = 30 * time.Second

// endSlack is how long after its grace period a pod may still be there.
const endSlack = 2 * time.Second

// drainUnsaid is how long a pod that ends may still answer without a word: nearly every
// old pod does for a moment.
const drainUnsaid = time.Second

// mostNamed is how many pods are named at once.
const mostNamed = 3

// trafficWait is a wait until Services send traffic to nothing but what the release runs.
type trafficWait struct {
	role     string // for the progress
	running  releasePods
	services []releaseService
	gone     string          // a role whose workloads were deleted: their pods follow in a moment
	known    []*corev1.Pod   // read already
	told     map[string]bool // reported already
}

// awaitTraffic waits until the Services of a drain send no traffic to pods that end. It
// ends without an error when it has waited for long enough: a comparison then names
// what is left. The error is that of ctx if it was cancelled.
func (t *Target) awaitTraffic(ctx context.Context, d trafficWait) error {
	if len(d.services) == 0 {
		return nil
	}
	d.told = map[string]bool{}
	began := time.Now()
	limit, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	changes := make(chan struct{}, 1)
	for watching := false; ; watching = true {
		ending, err := t.pending(limit, d)
		switch {
		case limit.Err() != nil:
			return cancelled(ctx)
		case err != nil || len(ending) == 0:
			return err
		}
		if time.Since(began) >= drainUnsaid {
			t.reportEnding(d, ending)
		}
		if !watching {
			t.watchEndpoints(limit, d.services, changes)
		}
		select {
		case <-limit.Done():
			return cancelled(ctx)
		case <-changes:
		case <-time.After(time.Second): // the grace period of a pod is over without any event
		}
	}
}

// cancelled is the error of a context that was cancelled; nil if its time is over.
func cancelled(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	return nil
}

// pending are the pods to wait for.
func (t *Target) pending(ctx context.Context, d trafficWait) ([]destination, error) {
	endpoints, err := endpointsOf(ctx, t.client, d.services)
	if err != nil {
		return nil, err
	}
	found, err := trafficTo(ctx, t.client, endpoints, d.running, d.services, d.known)
	if err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(found.ending, func(e destination) bool {
		return e.pod != nil && time.Now().After(e.pod.DeletionTimestamp.Add(endSlack))
	})
	for _, f := range found.foreign {
		if metav1.GetControllerOfNoCopy(f.pod) != nil && f.pod.Labels[object.AppLabel] == t.cfg.App && f.pod.Labels[object.RoleLabel] == d.gone {
			out = append(out, f)
		}
	}
	return out, nil
}

// reportEnding says once of each pod that it is waited for.
func (t *Target) reportEnding(d trafficWait, ending []destination) {
	var lines []string
	for _, e := range ending {
		if line := e.String(); !d.told[line] && e.pod != nil && e.pod.DeletionTimestamp != nil {
			d.told[line] = true
			lines = append(lines, fmt.Sprintf("%s, until %s at the latest", line, e.pod.DeletionTimestamp.Format(time.TimeOnly)))
		}
	}
	if more := len(lines) - mostNamed; more > 0 {
		lines = append(lines[:mostNamed], fmt.Sprintf("%d more", more))
	}
	if len(lines) > 0 {
		t.options.Progress.Report(release.Event{Phase: release.PhaseWait, Mark: release.MarkNote, Role: d.role, Message: strings.Join(lines, "; ") + ": waiting for it"})
	}
}

// watchEndpoints tells, until ctx ends, that the EndpointSlices of Services have
// changed. A watch that is not possible or ends is no error: what it would tell is
// read after a second all the same.
func (t *Target) watchEndpoints(ctx context.Context, services []releaseService, changes chan<- struct{}) {
	byNamespace := map[string][]string{}
	for _, s := range services {
		byNamespace[s.id.Namespace] = append(byNamespace[s.id.Namespace], s.id.Name)
	}
	for ns, names := range byNamespace {
		w, err := t.client.WatchTyped(client.Endpoints, ns)(ctx, slicesOf(names))
		if err != nil {
			continue
		}
		go func() {
			defer w.Stop()
			for range w.ResultChan() {
				select {
				case changes <- struct{}{}:
				default:
				}
			}
		}()
	}
}
