package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestWhatIsRestartedWithinTheStableTimeIsNotGood(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	pods, err := c.kube.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	defer pods.Stop()
	applied, err := c.Apply(t.Context(), role, options(t))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := (&Target{client: c.Client, options: Options{Timeout: time.Minute, Progress: progress(t)}}).complete(t.Context(), stepOf(role), applied, 30*time.Second)
		ended <- err
	}()
	for {
		select {
		case e := <-pods.ResultChan():
			// Each restart is an event, and brings the next one: some of them come after the pod was seen to be ready.
			if pod, ok := e.Object.(*corev1.Pod); ok && object.PodReady(pod) {
				restart(t, c, pod)
			}
		case err := <-ended:
			var f *release.Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, release.CodeCrashLoop, f.Code)
			require.Contains(t, f.Message, "container main ended with exit code 3")
			require.Contains(t, f.Message, "after it was ready")
			return
		}
	}
}

// restart tells of a pod's container what a kubelet does when it has ended and runs again.
func restart(t *testing.T, c *user, pod *corev1.Pod) {
	t.Helper()
	s := &pod.Status.ContainerStatuses[0]
	s.RestartCount++
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", FinishedAt: metav1.Now()}
	// A conflict is no fault: who has written in the meantime brings the next event.
	_, _ = c.kube.CoreV1().Pods(pod.Namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
}
