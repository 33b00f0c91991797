package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSteadiness(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ended := func(after time.Duration, reason string) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: 3, Reason: reason, FinishedAt: metav1.NewTime(noon.Add(after))}
	}
	controller := true
	owned := []metav1.OwnerReference{{UID: "set", Controller: &controller}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for _, tc := range []struct {
		name           string
		restarts       int32
		state          corev1.ContainerState
		last           *corev1.ContainerStateTerminated
		at             time.Duration
		unsteady, info string
	}{
		{name: "never restarted", state: running},
		{name: "restarted twice, a moment ago", restarts: 2, state: running, last: ended(20*time.Second, "Error"), at: 32 * time.Second,
			unsteady: "container main of web-1 was restarted 2 times, last 12s ago after exit code 3"},
		{name: "restarted once, long after it was created", restarts: 1, state: running, last: ended(time.Minute, "Error"), at: 2 * time.Minute,
			unsteady: "container main of web-1 was restarted once, last 1m0s ago after exit code 3"},
		{name: "down between two starts", restarts: 4, state: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, last: ended(0, "Error"), at: time.Minute,
			unsteady: "container main of web-1 is down, was restarted 4 times, last 1m0s ago after exit code 3"},
		{name: "restarted once on its way up", restarts: 1, state: running, last: ended(5*time.Second, "Error"), at: 20 * time.Second,
			info: "container main of web-1 was restarted once, last 15s ago after exit code 3"},
		{name: "restarted long ago", restarts: 7, state: running, last: ended(time.Minute, "Error"), at: time.Hour,
			info: "container main of web-1 was restarted 7 times, last 59m0s ago after exit code 3"},
		{name: "restarted with its node", restarts: 1, state: running, last: ended(time.Hour, "Unknown"), at: time.Hour + time.Minute,
			info: "container main of web-1 was restarted once, last 1m0s ago after exit code 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", CreationTimestamp: metav1.NewTime(noon), OwnerReferences: owned}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: tc.restarts, State: tc.state, LastTerminationState: corev1.ContainerState{Terminated: tc.last}}}
			got := steadinessOf([]*corev1.Pod{p}, noon.Add(tc.at))
			require.Equal(t, tc.unsteady, got.unsteady)
			require.Equal(t, tc.info, got.info)
			require.Equal(t, tc.unsteady != "", got.pod != nil)
		})
	}
	t.Run("of several pods the worst is told, and how many there are", func(t *testing.T) {
		var pods []*corev1.Pod
		for i, n := range []int32{0, 2, 9} {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(rune('a' + i)), CreationTimestamp: metav1.NewTime(noon), OwnerReferences: owned}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: n, State: running}}
			if n > 0 {
				p.Status.ContainerStatuses[0].LastTerminationState.Terminated = ended(0, "Error")
			}
			pods = append(pods, p)
		}
		got := steadinessOf(pods, noon.Add(10*time.Second))
		require.Equal(t, "container main of c was restarted 9 times, last 10s ago after exit code 3; 1 other as well", got.unsteady)
		require.Same(t, pods[2], got.pod)
	})
}
