package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

const byTier = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: $NS}
spec:
  selector: {tier: front}
  ports: [{port: 80, targetPort: 8080}]`

func TestWhatAServiceSendsTrafficToIsPartOfWhatRuns(t *testing.T) {
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
