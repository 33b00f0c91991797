package rollout

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// readyRun is the run of a Deployment whose one pod is ready after some restarts.
func readyRun(t *testing.T, span time.Duration, restarts int32) (*run, *pod) {
	t.Helper()
	live := deployment(10, 2, 2)
	live.SetAnnotations(map[string]string{object.RevisionAnnotation: "2"})
	r := newRun(nil, []Object{applied(live)}, Options{Stable: span})
	r.replicaSets["set"] = replicaSet{name: "web-1", controller: "web", revision: "2"}
	controller := true
	p := &pod{from: &watcher{}, history: diagnose.NewHistory(), Pod: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1-a", UID: "pod", OwnerReferences: []metav1.OwnerReference{{UID: "set", Controller: &controller}}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "main"}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, RestartCount: restarts,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}}
	// Known already, so that no request for the events is made.
	p.history.Warn(diagnose.Warning{Name: "e", Reason: "Unhealthy", Message: "Liveness probe failed: 500", Container: "main"})
	r.pods["pod"] = p
	r.controlled["web"], r.controlled["set"] = map[types.UID]bool{"set": true}, map[types.UID]bool{"pod": true}
	return r, p
}

func TestWhatIsReadyMustStaySo(t *testing.T) {
	r, _ := readyRun(t, 3*time.Second, 1)
	at := r.began
	done, again := r.stays(false, time.Second, at)
	require.False(t, done, "it is not ready yet")
	require.Equal(t, time.Second, again)
	done, again = r.stays(true, time.Second, at)
	require.False(t, done)
	require.Equal(t, time.Second, again)
	done, again = r.stays(true, time.Second, at.Add(2500*time.Millisecond))
	require.False(t, done)
	require.Equal(t, 500*time.Millisecond, again)
	require.Nil(t, r.restarted(t.Context()), "it was restarted before it was ready")
	done, _ = r.stays(true, time.Second, at.Add(3*time.Second))
	require.True(t, done)

	t.Run("and the time begins anew when it is not ready between", func(t *testing.T) {
		r, _ := readyRun(t, 3*time.Second, 0)
		r.stays(true, time.Second, at)
		r.stays(false, time.Second, at.Add(time.Second))
		r.stays(true, time.Second, at.Add(2*time.Second))
		done, _ := r.stays(true, time.Second, at.Add(4*time.Second))
		require.False(t, done)
	})
	t.Run("without a span ready is enough", func(t *testing.T) {
		r, _ := readyRun(t, 0, 0)
		done, _ := r.stays(true, time.Second, at)
		require.True(t, done)
	})
}

func TestARestartAfterItWasReadyEndsTheRollout(t *testing.T) {
	r, p := readyRun(t, 3*time.Second, 1)
	r.stays(true, time.Second, r.began)
	require.Nil(t, r.restarted(t.Context()))
	again := *p.Pod.DeepCopy()
	s := &again.Status.ContainerStatuses[0]
	s.RestartCount = 2
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137}
	p.Pod = &again
	ended := r.restarted(t.Context())
	require.NotNil(t, ended)
	require.Equal(t, release.CodeProbeFailed, ended.Code, "the events say what killed it")
	require.Contains(t, ended.Message, "after it was ready")
	require.Same(t, p, ended.pod)
	require.True(t, ended.Ran)

	t.Run("also while it is down", func(t *testing.T) {
		r, p := readyRun(t, 3*time.Second, 0)
		r.stays(true, time.Second, r.began)
		down := *p.Pod.DeepCopy()
		down.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}
		p.Pod = &down
		r.stays(false, time.Second, r.began.Add(time.Second))
		ended := r.restarted(t.Context())
		require.NotNil(t, ended)
		require.Equal(t, 3, *ended.ExitCode)
	})
}

func TestAPodOfWhichTheWatchIsBehindIsNotTakenForRestarted(t *testing.T) {
	r, p := readyRun(t, 3*time.Second, 0)
	ready := p.Pod
	// Its controller counts the pod already; its own watch still shows the exit before.
	behind := *ready.DeepCopy()
	behind.Status.Conditions[0].Status = corev1.ConditionFalse
	behind.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}
	p.Pod = &behind
	r.stays(true, time.Second, r.began)
	require.Nil(t, r.restarted(t.Context()))
	caughtUp := *ready.DeepCopy()
	caughtUp.Status.ContainerStatuses[0].RestartCount = 1
	p.Pod = &caughtUp
	r.stays(true, time.Second, r.began)
	require.Nil(t, r.restarted(t.Context()))
}
