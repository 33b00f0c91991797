package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

const byTier = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: $NS}
spec:
  selector: {tier: front}
  ports: [{port: 80, targetPort: 8080}]`

func TestWhatAServiceSendsTrafficToIsPartOfWhatRuns(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{strings.Replace(deployment("web", 1), "labels: {app: web}}\n    spec", "labels: {app: web, tier: front}}\n    spec", 1), byTier}}
	a := newApp(t, "endpoints", web)
	a.settled("v1", web)

	// Taken out of its Deployment by its label, a pod still has what the Service selects.
	pods, err := c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	orphan := pods.Items[0]
	delete(orphan.Labels, "app")
	delete(orphan.Labels, "pod-template-hash")
	_, err = c.kube.CoreV1().Pods(ns).Update(t.Context(), &orphan, metav1.UpdateOptions{})
	require.NoError(t, err)

	record := a.ship("v2", web)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.False(t, record.Parity)
	require.Contains(t, record.Reason, "Service "+ns+"/web")
	require.Contains(t, record.Reason, orphan.Name)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, status.Record.Drift)
	require.Equal(t, release.DriftForeign, status.Record.Drift[0].Kind)

	require.NoError(t, c.kube.CoreV1().Pods(ns).Delete(t.Context(), orphan.Name, metav1.DeleteOptions{}))
	a.settled("v3", web)
}

// fronted is a Deployment whose pods the Service byTier selects; lines for the pods'
// specification can follow.
func fronted(name string, podMetadata string, extra ...string) string {
	doc := strings.Replace(deployment(name, 1), "labels: {app: "+name+"}}\n    spec", "labels: {app: "+name+", tier: front}"+podMetadata+"}\n    spec", 1)
	return strings.Join(append([]string{doc}, extra...), "\n")
}

// kept is a Deployment whose pods are ready for as long as finish does not take their
// finalizer away, although they are deleted and their node has ended them.
var kept = fronted("web", ", finalizers: [shipit.test/keep]")

// finish lets the pods of a namespace that are being deleted go.
func finish(t *testing.T, c *user, ns string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	pods, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, p := range pods.Items {
		if p.DeletionTimestamp != nil {
			_, err := c.kube.CoreV1().Pods(ns).Patch(ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			require.NoError(t, err)
		}
	}
}

func TestAnOldPodThatDoesNotEndInTimeIsSaid(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{kept, byTier}}
	a := newApp(t, "kept-pods", web)
	t.Cleanup(func() { deletePods(t, c, ns) })
	a.settled("v1", web)
	var old string
	for old = range podUIDs(t, c, ns) {
	}
	began := time.Now()
	record := a.ship("v2", web)
	require.Less(t, time.Since(began), time.Minute)
	require.True(t, record.Parity, record.Reason)
	want := "Pod " + ns + "/" + old + " is being deleted and still answers for Service " + ns + "/web"
	require.Contains(t, record.Roles[0].Reason, want)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Contains(t, status.Record.Roles[0].Reason, want)
	require.True(t, status.Record.Parity)
}

// deletePods lets a namespace be deleted whose pods have finalizers.
func deletePods(t *testing.T, c *user, ns string) {
	t.Helper()
	require.NoError(t, c.kube.CoreV1().Pods(ns).DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{}, metav1.ListOptions{}))
	finish(t, c, ns)
}

func TestWhatAServiceNoLongerSelectsByARemovedWorkload(t *testing.T) {
	t.Parallel()
	c := connect(t)
	t.Run("of the same role", func(t *testing.T) {
		ns := namespace(t, c)
		before, after := part{"web", ns, []string{fronted("a", ""), byTier}}, part{"web", ns, []string{fronted("b", ""), byTier}}
		a := newApp(t, "renamed-workload", before)
		for _, p := range []part{before, after, before} {
			a.settled("v1", p)
		}
	})
	t.Run("of a role that the release does not have any more", func(t *testing.T) {
		ns := namespace(t, c)
		web, other := part{"web", ns, []string{fronted("web", ""), byTier}}, part{"other", ns, []string{fronted("other", "")}}
		a := newApp(t, "dropped-role", web)
		for range 2 {
			a.settled("v1", web, other)
			a.settled("v1", web)
		}
	})
}
