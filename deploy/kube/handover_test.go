package kube

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// autoscaler scales the Deployment web between a number of replicas and 9. The cluster
// has no metrics: all that it does is to keep the minimum.
func autoscaler(least int) string {
	return fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: $NS}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: %d
  maxReplicas: 9
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]`, least)
}

// replicasOf watches the replicas that the Deployment web of a namespace asks for, and
// gives each number as it came.
func replicasOf(t *testing.T, c *user, ns string) (seen func() []int32) {
	t.Helper()
	w, err := c.kube.AppsV1().Deployments(ns).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=web"})
	require.NoError(t, err)
	t.Cleanup(w.Stop)
	var mu sync.Mutex
	var numbers []int32
	go func() {
		for event := range w.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok {
				mu.Lock()
				numbers = append(numbers, *d.Spec.Replicas)
				mu.Unlock()
			}
		}
	}()
	return func() []int32 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(numbers))
	}
}

func TestReplicasAreHandedOverToAnAutoscaler(t *testing.T) {
	t.Parallel()
	c := connect(t)
	open := strings.Replace(deployment("web", 2), "  replicas: 2\n", "", 1)
	for _, tc := range []struct {
		name  string
		after func(ns string) []part // the release that does not state the replicas any more
	}{
		{"of the same role", func(ns string) []part { return []part{{"web", ns, []string{open, autoscaler(3)}}} }},
		{"of another role, which is applied later", func(ns string) []part {
			return []part{{"web", ns, []string{open}}, {"scaling", ns, []string{strings.ReplaceAll(deployment("worker", 1), "app: web", "app: worker"), autoscaler(3)}}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // the autoscaler takes a quarter of a minute
			ns := namespace(t, c)
			before := part{"web", ns, []string{deployment("web", 2)}}
			a := newApp(t, "handover-"+ns[len(ns)-5:], before)
			a.settled("v1", before)
			seen := replicasOf(t, c, ns)

			parts := tc.after(ns)
			a.configure(a.Config.App, parts...)
			next := a.release("v2", parts...)
			plan, err := a.Targets[release.TargetKubernetes].Compare(t.Context(), deploy.Step{Release: next, Role: next.Roles[0]})
			require.NoError(t, err)
			for _, change := range plan.Changes {
				require.NotContains(t, release.Diff(change.Fields), "spec.replicas", "the plan does not say that the replicas change")
			}
			a.settled("v2", parts...)
			require.Eventually(t, func() bool { return slices.Contains(seen(), 3) }, 2*time.Minute, 50*time.Millisecond, "the autoscaler takes over")
			require.Equal(t, []int32{2, 3}, seen(), "there are never fewer")
			require.Eventually(t, func() bool {
				status, err := a.Status(t.Context())
				return err == nil && status.Record.Parity
			}, time.Minute, 100*time.Millisecond)
			for _, e := range deploymentOf(t, c, ns).ManagedFields {
				require.NotEqual(t, object.HandoverManager, e.Manager, "it holds nothing any more")
			}
			a.settled("v3", parts...)
			require.Equal(t, []int32{2, 3}, seen())
		})
	}
	t.Run("that finds them as it wants them, and back", func(t *testing.T) {
		t.Parallel()
		ns := namespace(t, c)
		stated := func(n int) part { return part{"web", ns, []string{deployment("web", n)}} }
		scaled := part{"web", ns, []string{open, autoscaler(2)}}
		a := newApp(t, "handover-"+ns[len(ns)-5:], stated(2))
		a.settled("v1", stated(2))
		seen := replicasOf(t, c, ns)
		a.settled("v2", scaled)
		a.settled("v3", scaled)
		a.settled("v4", stated(4))
		require.Equal(t, []int32{2, 4}, seen())
		for _, e := range deploymentOf(t, c, ns).ManagedFields {
			require.NotEqual(t, object.HandoverManager, e.Manager)
		}
	})
	t.Run("but to nobody where nobody scales", func(t *testing.T) {
		t.Parallel()
		ns := namespace(t, c)
		a := newApp(t, "handover-"+ns[len(ns)-5:], part{"web", ns, nil})
		a.settled("v1", part{"web", ns, []string{deployment("web", 2)}})
		a.settled("v2", part{"web", ns, []string{open, strings.Replace(autoscaler(2), "kind: Deployment", "kind: StatefulSet", 1)}})
		require.EqualValues(t, 1, *deploymentOf(t, c, ns).Spec.Replicas, "the API's default, as if the release had made it anew")
	})
}

func deploymentOf(t *testing.T, c *user, ns string) *appsv1.Deployment {
	t.Helper()
	d, err := c.kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	return d
}
