package diagnose

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

// ended is the state of a container that ended and is not started again.
func ended(code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: map[bool]string{true: "Completed", false: "Error"}[code == 0],
		StartedAt: metav1.NewTime(noon), FinishedAt: metav1.NewTime(noon.Add(time.Second))}}
}

func waitingState(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func runningState() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}
}

// withInit is a pod with an init container before its main one.
func withInit(pod *corev1.Pod, init corev1.ContainerStatus) *corev1.Pod {
	init.Name = "first"
	pod.Spec.InitContainers = []corev1.Container{{Name: "first"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{init}
	return pod
}

func TestAnInitContainerThatEndedWellHidesNothing(t *testing.T) {
	done := corev1.ContainerStatus{Ready: true, State: ended(0)}
	started := true
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		code release.Code
	}{
		"a main container that crashes":          {withInit(podExited(3, "Error", 1), done), release.CodeCrashLoop},
		"a pull that fails":                      {withInit(podWaiting("ErrImagePull", "x: not found"), done), release.CodeImageNotFound},
		"a main container that never gets ready": {withInit(podWith(corev1.ContainerStatus{Started: &started, State: runningState()}), done), release.CodeProbeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHistory()
			h.Observe(tc.pod)
			h.Warn(Warning{Name: "e", Reason: "Unhealthy", Message: "Readiness probe failed: 503", Container: "main", At: noon})
			c, ok := Pod(tc.pod, h)
			require.True(t, ok)
			require.Equal(t, tc.code, c.Code)
			require.Equal(t, "main", c.Container)
			require.Contains(t, c.Message, "container main")
		})
	}
	t.Run("and is no fault while the main container is created", func(t *testing.T) {
		_, ok := Pod(withInit(podWaiting("PodInitializing", ""), done), NewHistory())
		require.False(t, ok)
	})
}

func TestASidecarThatCrashesIsNoInitContainer(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	for name, code := range map[string]int32{"with a fault": 2, "without one": 0} {
		t.Run(name, func(t *testing.T) {
			crashed := podExited(code, "Error", 2).Status.ContainerStatuses[0]
			pod := withInit(podWaiting("PodInitializing", ""), crashed)
			pod.Spec.InitContainers[0].RestartPolicy = &always
			c, ok := Pod(pod, NewHistory())
			require.True(t, ok)
			require.Equal(t, release.CodeCrashLoop, c.Code)
			require.Equal(t, "first", c.Container)
			require.NotContains(t, c.Hint, "init container")
			require.Equal(t, AtOnce, c.Grace)
		})
	}
	t.Run("nor one of a Job's pod, which is started again", func(t *testing.T) {
		pod := withInit(podWaiting("PodInitializing", ""), podExited(2, "Error", 2).Status.ContainerStatuses[0])
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		pod.Spec.InitContainers[0].RestartPolicy = &always
		c, ok := Pod(pod, NewHistory())
		require.True(t, ok)
		require.Equal(t, AtOnce, c.Grace)
	})
	t.Run("and one that is not ready has its probe named", func(t *testing.T) {
		started := true
		pod := withInit(podWith(corev1.ContainerStatus{Ready: true, Started: &started, State: runningState()}), corev1.ContainerStatus{Started: &started, State: runningState()})
		pod.Spec.InitContainers[0].RestartPolicy = &always
		h := NewHistory()
		h.Warn(Warning{Name: "e", Reason: "Unhealthy", Message: "Readiness probe failed: 503", Container: "first", At: noon})
		c, ok := Pod(pod, h)
		require.True(t, ok)
		require.Equal(t, release.CodeProbeFailed, c.Code)
		require.Equal(t, "first", c.Container)
	})
}

func TestOfSeveralFaultsTheOneThatLastsComesFirst(t *testing.T) {
	several := func(states ...corev1.ContainerStatus) *corev1.Pod {
		pod := podWith(corev1.ContainerStatus{})
		pod.Spec.Containers, pod.Status.ContainerStatuses = nil, nil
		for i, s := range states {
			s.Name = string(rune('a' + i))
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: s.Name})
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, s)
		}
		return pod
	}
	once := corev1.ContainerStatus{State: ended(1)}
	gone := corev1.ContainerStatus{State: waitingState("ErrImagePull", "x: not found")}
	unknown := corev1.ContainerStatus{State: waitingState("ErrImagePull", "something new")}
	away := corev1.ContainerStatus{State: waitingState("ErrImagePull", "dial tcp: no such host")}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		code release.Code
		of   string
	}{
		"a pull that cannot succeed before one exit":          {several(once, gone), release.CodeImageNotFound, "b"},
		"a pull that cannot succeed before a registry's rest": {several(away, gone), release.CodeImageNotFound, "b"},
		"a likely fault before one that may pass":             {several(away, unknown), release.CodePullFailed, "b"},
		"of equal ones the first":                             {several(gone, gone), release.CodeImageNotFound, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			c, ok := Pod(tc.pod, NewHistory())
			require.True(t, ok)
			require.Equal(t, tc.code, c.Code)
			require.Equal(t, tc.of, c.Container)
		})
	}
}

func TestAVolumeThatIsMountedHidesNothing(t *testing.T) {
	started := true
	pod := podWith(corev1.ContainerStatus{Started: &started, State: runningState()})
	h := NewHistory()
	h.Warn(Warning{Name: "m", Reason: "FailedMount", Message: "MountVolume.SetUp failed: timed out waiting for the condition", At: noon})
	h.Warn(Warning{Name: "e", Reason: "Unhealthy", Message: "Readiness probe failed: 503", Container: "main", At: noon})
	c, ok := Pod(pod, h)
	require.True(t, ok)
	require.Equal(t, release.CodeProbeFailed, c.Code)
}

func TestAPullThatOnlyAnEventTellsOf(t *testing.T) {
	// The kubelet writes the status some ten seconds after the event.
	h := NewHistory()
	pod := withInit(podWaiting("PodInitializing", ""), corev1.ContainerStatus{Ready: true, State: ended(0)})
	h.Warn(Warning{Name: "a", Reason: "Failed", Message: `Failed to pull image "x": rpc error: code = NotFound desc = x: not found`, Container: "main", At: noon})
	h.Warn(Warning{Name: "b", Reason: "Failed", Message: "Error: ErrImagePull", Container: "main", At: noon})
	c, ok := Pod(pod, h)
	require.True(t, ok)
	require.Equal(t, release.CodeImageNotFound, c.Code)
	require.Equal(t, "main", c.Container)
}

func TestAProgramThatIsNotExecutable(t *testing.T) {
	c, ok := Pod(podWaiting("RunContainerError", `exec: "/app/start.sh": permission denied: unknown`), NewHistory())
	require.True(t, ok)
	require.Equal(t, release.CodeStartFailed, c.Code)
	require.Contains(t, c.Hint, "execut")
	require.NotContains(t, c.Hint, "not in the image")
	require.Contains(t, c.Message, "container main")

	c, _ = Pod(podWaiting("RunContainerError", `exec: "/app/start.sh": no such file or directory`), NewHistory())
	require.Contains(t, c.Hint, "not in the image")
}

func TestAStatefulSetOnItsWayBack(t *testing.T) {
	two := int32(2)
	// web-0 of the revision that failed was deleted; web-1 is still of it. The revision
	// that ran before never ceased to be the current one.
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: appsv1.StatefulSetSpec{Replicas: &two},
		Status: appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 2, AvailableReplicas: 2, CurrentReplicas: 1, UpdatedReplicas: 1, CurrentRevision: "one", UpdateRevision: "one"}}
	s := statefulSet(set)
	require.False(t, s.Ready)
	require.Equal(t, "1 of 2 pods updated", s.Missing)
	require.Equal(t, 1, s.Serving)
	set.Status.UpdatedReplicas = 2
	require.True(t, statefulSet(set).Ready)
}
