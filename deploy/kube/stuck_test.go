package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

func TestADeploymentThatWasPausedByHandIsResumed(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{deployment("web", 1)}}
	a := newApp(t, "paused", web)
	a.settled("v1", web)
	_, err := c.kube.AppsV1().Deployments(ns).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"paused":true}}`), metav1.PatchOptions{FieldManager: "kubectl-rollout"})
	require.NoError(t, err)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, status.Record.Drift, "the next release would change it")
	a.settled("v2", web)
	require.Contains(t, a.noted(), "paused")
}

// migration is a Job that its own TTL deletes.
const migration = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: $NS}
spec:
  ttlSecondsAfterFinished: 1
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: $IMAGE}]}}`

func TestAJobThatItsTTLDeletedHasRun(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{migration, deployment("web", 1)}}
	a := newApp(t, "migrating", web)
	gone := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := c.kube.BatchV1().Jobs(ns).Get(t.Context(), "migrate", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}, 20*time.Second, 50*time.Millisecond)
	}
	require.True(t, a.ship("v1", web).Parity)
	gone()
	a.inParity()

	t.Run("a release with the same Job does not run it again", func(t *testing.T) {
		again := web
		again.docs = append(again.docs[:2:2], service)
		jobs, err := c.kube.BatchV1().Jobs(ns).Watch(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		defer jobs.Stop()
		a.settled("v1", again)
		select {
		case e := <-jobs.ResultChan():
			t.Fatalf("the migration runs again: %s", e.Type)
		default:
		}
	})
	t.Run("a release whose Job has another image runs it", func(t *testing.T) {
		jobs, err := c.kube.BatchV1().Jobs(ns).Watch(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		defer jobs.Stop()
		require.True(t, a.ship("v2", web).Parity)
		select {
		case e := <-jobs.ResultChan():
			require.Equal(t, "ADDED", string(e.Type))
		case <-time.After(10 * time.Second):
			t.Fatal("no Job was made")
		}
		gone()
		a.inParity()
	})
}

func TestWhatCannotBeReadyInTimeIsToldBefore(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	web := part{"web", ns, []string{deployment("web", 1) + "\n  minReadySeconds: 600"}}
	f := newApp(t, "slow", web).refusal("v1", web)
	require.Equal(t, release.CodeTimeoutTooShort, f.Code)
	require.Equal(t, "Deployment "+ns+"/web", f.Object)
	require.Contains(t, f.Message, "minReadySeconds: 600")
}
