package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/release"
)

func TestADeploymentThatWasPausedByHandIsResumed(t *testing.T) {
	t.Parallel()
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
  ttlSecondsAfterFinished: $TTL
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: $IMAGE}]}}`

func TestAJobThatItsTTLDeletedHasRun(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for _, seconds := range []string{"1", "0"} {
		t.Run(seconds+" seconds after it has finished", func(t *testing.T) { hasRunOnce(t, c, seconds) })
	}
}

func hasRunOnce(t *testing.T, c *user, seconds string) {
	t.Helper()
	ns := namespace(t, c)
	web := part{"web", ns, []string{strings.Replace(migration, "$TTL", seconds, 1), deployment("web", 1)}}
	a := newApp(t, "migrating-"+seconds, web)
	gone := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := c.kube.BatchV1().Jobs(ns).Get(t.Context(), "migrate", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}, time.Minute, 50*time.Millisecond)
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
		case <-time.After(time.Minute):
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

func TestAPodThatAFinalizerKeepsIsNamed(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	t.Cleanup(func() { deletePods(t, c, ns) })
	set := strings.Replace(workload("StatefulSet"), "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, finalizers: [shipit.test/keep]}", 1)
	_, _, err := roll(t, c, roleOf(t, ns, digestOf("v1"), set))
	require.NoError(t, err)
	f, _ := failAfter(t, c, roleOf(t, ns, digestOf("v2"), set), 3*time.Second, func() bool {
		pod, err := c.kube.CoreV1().Pods(ns).Get(t.Context(), "web-0", metav1.GetOptions{})
		return err == nil && pod.DeletionTimestamp != nil
	})
	require.Equal(t, release.CodeDeadlineExceeded, f.Code)
	require.Contains(t, f.Message, "Pod "+ns+"/web-0 is being deleted and kept by the finalizer shipit.test/keep")
	require.Contains(t, f.Hint, "kubectl patch pod -n "+ns+" web-0 ")
	require.NotContains(t, f.Hint, "--timeout")
}
