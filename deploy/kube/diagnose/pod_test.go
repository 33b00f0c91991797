package diagnose

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// podWaiting is a pod whose only container waits.
func podWaiting(reason, message string) *corev1.Pod {
	return podWith(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}})
}

func podWith(s corev1.ContainerStatus) *corev1.Pod {
	s.Name = "main"
	return &corev1.Pod{
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{
			Name: "main", ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{s}},
	}
}

// podExited is a pod with a container that ended and waits to be started again.
func podExited(code int32, reason string, restarts int32) *corev1.Pod {
	return podWith(corev1.ContainerStatus{
		RestartCount: restarts,
		State:        corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, StartedAt: metav1.NewTime(noon), FinishedAt: metav1.NewTime(noon.Add(time.Duration(restarts) * time.Second)),
		}},
	})
}

func podUnscheduled(message string) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
	}}}}
}

func TestPod(t *testing.T) {
	const digest = "registry.test/app@sha256:401403404500deadbeef00000000000000000000000000000000000000000000"
	warned := func(reason, message string) func(*History) {
		return func(h *History) { h.Warn(Warning{Name: reason, Reason: reason, Message: message, At: noon}) }
	}
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		seen  func(*History)
		code  string
		grace Grace
	}{
		// At once: no time will change it.
		{name: "an invalid image name", pod: podWaiting("InvalidImageName", `couldn't parse image name "a b"`), code: "InvalidImageName"},
		{name: "containerd: manifest unknown", pod: podWaiting("ErrImagePull", `failed to pull and unpack image "`+digest+`": failed to resolve reference "`+digest+`": `+digest+`: not found`), code: "ImageNotFound"},
		{name: "a registry's own words for it", pod: podWaiting("ErrImagePull", "rpc error: code = NotFound desc = MANIFEST_UNKNOWN: manifest unknown"), code: "ImageNotFound"},
		{name: "a pull that is denied", pod: podWaiting("ErrImagePull", "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://r/token: 401 Unauthorized"), code: "PullDenied"},
		{name: "docker hub's way to deny", pod: podWaiting("ErrImagePull", "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"), code: "PullDenied"},
		{name: "an image for another platform", pod: podWaiting("ErrImagePull", `no match for platform in manifest: not found`), code: "NoMatchingPlatform"},
		{name: "a pull policy of Never", pod: podWaiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"), code: "ImageNeverPulled"},
		{name: "a missing Secret", pod: podWaiting("CreateContainerConfigError", `secret "keys" not found`), code: "SecretMissing"},
		{name: "a missing key of a Secret", pod: podWaiting("CreateContainerConfigError", "couldn't find key token in Secret ns/keys"), code: "SecretKeyMissing"},
		{name: "a missing ConfigMap", pod: podWaiting("CreateContainerConfigError", `configmap "settings" not found`), code: "ConfigMapMissing"},
		{name: "a missing key of a ConfigMap", pod: podWaiting("CreateContainerConfigError", "couldn't find key a in ConfigMap ns/settings"), code: "ConfigMapKeyMissing"},
		{name: "an image that runs as root where none may", pod: podWaiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"), code: "RunsAsRoot"},
		{name: "a pod that asks for root where none may", pod: podWaiting("CreateContainerConfigError", "container's runAsUser breaks non-root policy"), code: "RunsAsRoot"},
		{name: "any other fault of the configuration", pod: podWaiting("CreateContainerConfigError", "cannot do that"), code: "ContainerConfig"},
		{name: "a program that is not in the image", pod: podWaiting("CreateContainerError", `exec: "/app": stat /app: no such file or directory`), code: "StartFailed"},
		{name: "a program for another architecture", pod: podWaiting("RunContainerError", "exec /app: exec format error"), code: "ExecFormat"},
		{name: "a program that could not be started", pod: func() *corev1.Pod {
			p := podExited(128, "StartError", 1)
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated.Message = `exec: "nope": executable file not found in $PATH`
			return p
		}(), code: "StartFailed"},
		{name: "a missing volume claim", pod: podUnscheduled(`persistentvolumeclaim "data" not found`), code: "ClaimMissing"},
		{name: "a mount of a missing Secret", pod: podWaiting("ContainerCreating", ""), seen: warned("FailedMount", `MountVolume.SetUp failed for volume "keys" : secret "keys" not found`), code: "SecretMissing"},
		{name: "a mount of a missing key", pod: podWaiting("ContainerCreating", ""), seen: warned("FailedMount", `MountVolume.SetUp failed for volume "keys" : references non-existent secret key: token`), code: "SecretKeyMissing"},
		{name: "a runtime class that the node lacks", pod: podWaiting("ContainerCreating", ""), seen: warned("FailedCreatePodSandBox", `no runtime for "gvisor" is configured`), code: "RuntimeClassUnknown"},
		{name: "the second exit with the same code", pod: podExited(3, "Error", 1), code: "CrashLoop"},
		{name: "running out of memory twice", pod: podExited(137, "OOMKilled", 1), code: "OOMKilled"},
		{name: "a liveness probe that kills", pod: podExited(143, "Error", 1), seen: warned("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500"), code: "ProbeFailed"},

		// After a while.
		{name: "a pull that fails for no known reason", pod: podWaiting("ErrImagePull", "something new"), code: "PullFailed", grace: unknownGrace},
		{name: "a container that is not created for no known reason", pod: podWaiting("CreateContainerError", "something new"), code: "ContainerNotCreated", grace: unknownGrace},
		{name: "no node takes it", pod: podUnscheduled("0/1 nodes are available: 1 Insufficient cpu."), code: "Unschedulable", grace: unschedulableGrace},

		// Only by the timeout: it may pass.
		{name: "the first exit", pod: podExited(3, "Error", 0), code: "CrashLoop", grace: AtTimeout},
		{name: "a registry that is away", pod: podWaiting("ErrImagePull", `failed to do request: Head "https://r/v2/app/manifests/x": dial tcp: lookup r: no such host`), code: "RegistryUnreachable", grace: AtTimeout},
		{name: "a registry whose port looks like a status", pod: podWaiting("ErrImagePull", "127.0.0.1:45523 lets an anonymous client not pull: UNAUTHORIZED"), code: "PullDenied"},
		{name: "a registry that is too busy", pod: podWaiting("ErrImagePull", "unexpected status from HEAD request: 429 Too Many Requests"), code: "RegistryUnreachable", grace: AtTimeout},
		{name: "a registry that is broken, whatever digits the digest has", pod: podWaiting("ErrImagePull", digest+": unexpected status from HEAD request: 503 Service Unavailable"), code: "RegistryUnreachable", grace: AtTimeout},
		{name: "digits of a digest are no status", pod: podWaiting("ErrImagePull", "something new about "+digest), code: "PullFailed", grace: unknownGrace},
		{name: "a Secret that the kubelet has not seen yet", pod: podWaiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"), code: "ConfigNotSynced", grace: AtTimeout},
		{name: "a container that is slow to be created", pod: podWaiting("CreateContainerError", "context deadline exceeded"), code: "StartDelayed", grace: AtTimeout},
		{name: "a node that is not ready yet", pod: podUnscheduled("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"), code: "Unschedulable", grace: AtTimeout},
		{name: "a volume that is being provisioned", pod: podUnscheduled("pod has unbound immediate PersistentVolumeClaims"), code: "Unschedulable", grace: AtTimeout},
		{name: "a volume that is being attached", pod: podWaiting("ContainerCreating", ""), seen: warned("FailedAttachVolume", "Multi-Attach error"), code: "VolumeNotMounted", grace: AtTimeout},
		{name: "a network that is not ready", pod: podWaiting("ContainerCreating", ""), seen: warned("FailedCreatePodSandBox", "network plugin is not ready"), code: "PodSandbox", grace: AtTimeout},
		{name: "an evicted pod", pod: &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}}, code: "Evicted", grace: AtTimeout},
		{name: "a back-off that says nothing more keeps what was said before", pod: podWaiting("ImagePullBackOff", `Back-off pulling image "x"`),
			seen: func(h *History) { h.Observe(podWaiting("ErrImagePull", "x: not found")) }, code: "ImageNotFound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := NewHistory()
			if tc.seen != nil {
				tc.seen(h)
			}
			h.Observe(tc.pod)
			got, ok := Pod(tc.pod, h)
			require.True(t, ok)
			require.EqualValues(t, tc.code, got.Code)
			require.Equal(t, tc.grace, got.Grace)
			require.NotEmpty(t, got.Message)

			ends, _ := h.Ends(got, noon)
			require.Equal(t, tc.grace == AtOnce, ends)
			if tc.grace > 0 {
				ends, left := h.Ends(got, noon.Add(time.Duration(tc.grace)-time.Second))
				require.False(t, ends)
				require.Equal(t, time.Second, left)
				ends, _ = h.Ends(got, noon.Add(time.Duration(tc.grace)))
				require.True(t, ends)
			}
		})
	}
}

func TestPodNothing(t *testing.T) {
	started := true
	running := podWith(corev1.ContainerStatus{Ready: true, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	leaving := podWaiting("ErrImagePull", "not found")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	for name, pod := range map[string]*corev1.Pod{
		"a pod that is ready":            running,
		"a pod that is being created":    podWaiting("ContainerCreating", ""),
		"a pod that is being deleted":    leaving,
		"a pod that nobody has observed": {},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := Pod(pod, NewHistory())
			require.False(t, ok)
		})
	}
}

func TestExits(t *testing.T) {
	h := NewHistory()
	for i, code := range []int32{1, 2} {
		pod := podExited(code, "Error", int32(i))
		h.Observe(pod)
		c, ok := Pod(pod, h)
		require.True(t, ok)
		require.Equal(t, AtTimeout, c.Grace, "codes that differ are no loop yet")
	}
	pod := podExited(2, "Error", 2)
	h.Observe(pod)
	c, _ := Pod(pod, h)
	require.Equal(t, AtOnce, c.Grace)
	require.Equal(t, "container main ended with exit code 2, 2 times", c.Message)

	killed := podExited(139, "Error", 2)
	c, _ = Pod(killed, NewHistory())
	require.Equal(t, "SIGSEGV", c.Signal)
	require.Equal(t, 139, *c.ExitCode)
}

func TestReadinessIsGivenTime(t *testing.T) {
	started := true
	pod := podWith(corev1.ContainerStatus{Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}})
	fails := func() *History {
		h := NewHistory()
		h.Warn(Warning{Name: "e", Reason: "Unhealthy", Message: "Readiness probe failed: connection refused", Container: "main", At: noon})
		return h
	}
	end := func(t *testing.T, h *History, after time.Duration) (bool, time.Duration) {
		t.Helper()
		c, ok := Pod(pod, h)
		require.True(t, ok)
		require.Equal(t, release.CodeProbeFailed, c.Code)
		return h.Ends(c, noon.Add(after))
	}
	t.Run("twice its own thresholds", func(t *testing.T) {
		h := fails()
		ends, left := end(t, h, 10*time.Second)
		require.False(t, ends)
		require.Equal(t, 50*time.Second, left)
		ends, _ = end(t, h, 60*time.Second)
		require.True(t, ends)
	})
	t.Run("time to warm up, if its thresholds are shorter", func(t *testing.T) {
		pod.Spec.Containers[0].ReadinessProbe.PeriodSeconds = 1
		h := fails()
		ends, _ := end(t, h, 29*time.Second)
		require.False(t, ends)
		ends, _ = end(t, h, 31*time.Second)
		require.True(t, ends)
	})
	t.Run("but not after a startup probe has let it through", func(t *testing.T) {
		pod.Spec.Containers[0].StartupProbe = &corev1.Probe{}
		ends, _ := end(t, fails(), 7*time.Second)
		require.True(t, ends)
	})
}
