package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/release"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// waiting is a pod whose only container waits.
func waiting(reason, message string) *corev1.Pod {
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

// exited is a container that ended and waits to be started again.
func exited(code int32, reason string, restarts int32) *corev1.Pod {
	return podWith(corev1.ContainerStatus{
		RestartCount: restarts,
		State:        corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, StartedAt: metav1.NewTime(noon), FinishedAt: metav1.NewTime(noon.Add(time.Duration(restarts) * time.Second)),
		}},
	})
}

func unscheduled(message string) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
	}}}}
}

func TestDiagnose(t *testing.T) {
	const digest = "registry.test/app@sha256:401403404500deadbeef00000000000000000000000000000000000000000000"
	warned := func(reason, message string) func(*history) {
		return func(h *history) { h.warn(warning{name: reason, reason: reason, message: message, at: noon}) }
	}
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		seen  func(*history)
		code  string
		waits patience
	}{
		// At once: no time mends it.
		{name: "an invalid image name", pod: waiting("InvalidImageName", `couldn't parse image name "a b"`), code: "InvalidImageName"},
		{name: "containerd: manifest unknown", pod: waiting("ErrImagePull", `failed to pull and unpack image "`+digest+`": failed to resolve reference "`+digest+`": `+digest+`: not found`), code: "ImageNotFound"},
		{name: "a registry's own words for it", pod: waiting("ErrImagePull", "rpc error: code = NotFound desc = MANIFEST_UNKNOWN: manifest unknown"), code: "ImageNotFound"},
		{name: "a pull that is denied", pod: waiting("ErrImagePull", "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://r/token: 401 Unauthorized"), code: "PullDenied"},
		{name: "docker hub's way to deny", pod: waiting("ErrImagePull", "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"), code: "PullDenied"},
		{name: "an image for another platform", pod: waiting("ErrImagePull", `no match for platform in manifest: not found`), code: "NoMatchingPlatform"},
		{name: "a pull policy of Never", pod: waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"), code: "ImageNeverPulled"},
		{name: "a missing Secret", pod: waiting("CreateContainerConfigError", `secret "keys" not found`), code: "SecretMissing"},
		{name: "a missing key of a Secret", pod: waiting("CreateContainerConfigError", "couldn't find key token in Secret ns/keys"), code: "SecretKeyMissing"},
		{name: "a missing ConfigMap", pod: waiting("CreateContainerConfigError", `configmap "settings" not found`), code: "ConfigMapMissing"},
		{name: "a missing key of a ConfigMap", pod: waiting("CreateContainerConfigError", "couldn't find key a in ConfigMap ns/settings"), code: "ConfigMapKeyMissing"},
		{name: "an image that runs as root where none may", pod: waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"), code: "RunsAsRoot"},
		{name: "a pod that asks for root where none may", pod: waiting("CreateContainerConfigError", "container's runAsUser breaks non-root policy"), code: "RunsAsRoot"},
		{name: "any other fault of the configuration", pod: waiting("CreateContainerConfigError", "cannot do that"), code: "ContainerConfig"},
		{name: "a program that is not in the image", pod: waiting("CreateContainerError", `exec: "/app": stat /app: no such file or directory`), code: "StartFailed"},
		{name: "a program for another architecture", pod: waiting("RunContainerError", "exec /app: exec format error"), code: "ExecFormat"},
		{name: "a program that could not be started", pod: func() *corev1.Pod {
			p := exited(128, "StartError", 1)
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated.Message = `exec: "nope": executable file not found in $PATH`
			return p
		}(), code: "StartFailed"},
		{name: "a missing volume claim", pod: unscheduled(`persistentvolumeclaim "data" not found`), code: "ClaimMissing"},
		{name: "a mount of a missing Secret", pod: waiting("ContainerCreating", ""), seen: warned("FailedMount", `MountVolume.SetUp failed for volume "keys" : secret "keys" not found`), code: "SecretMissing"},
		{name: "a mount of a missing key", pod: waiting("ContainerCreating", ""), seen: warned("FailedMount", `MountVolume.SetUp failed for volume "keys" : references non-existent secret key: token`), code: "SecretKeyMissing"},
		{name: "a runtime class that the node lacks", pod: waiting("ContainerCreating", ""), seen: warned("FailedCreatePodSandBox", `no runtime for "gvisor" is configured`), code: "RuntimeClassUnknown"},
		{name: "the second exit with the same code", pod: exited(3, "Error", 1), code: "CrashLoop"},
		{name: "running out of memory twice", pod: exited(137, "OOMKilled", 1), code: "OOMKilled"},
		{name: "a liveness probe that kills", pod: exited(143, "Error", 1), seen: warned("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500"), code: "ProbeFailed"},

		// After a while.
		{name: "a pull that fails for no known reason", pod: waiting("ErrImagePull", "something new"), code: "PullFailed", waits: lasting(unknownPullSpan)},
		{name: "a container that is not made for no known reason", pod: waiting("CreateContainerError", "something new"), code: "ContainerNotCreated", waits: lasting(unknownPullSpan)},
		{name: "no node takes it", pod: unscheduled("0/1 nodes are available: 1 Insufficient cpu."), code: "Unschedulable", waits: lasting(unschedulableSpan)},

		// Only by the limit: it may pass.
		{name: "the first exit", pod: exited(3, "Error", 0), code: "CrashLoop", waits: onlyByLimit},
		{name: "a registry that is away", pod: waiting("ErrImagePull", `failed to do request: Head "https://r/v2/app/manifests/x": dial tcp: lookup r: no such host`), code: "RegistryUnreachable", waits: onlyByLimit},
		{name: "a registry whose port looks like a status", pod: waiting("ErrImagePull", "127.0.0.1:45523 lets an anonymous client not pull: UNAUTHORIZED"), code: "PullDenied"},
		{name: "a registry that is too busy", pod: waiting("ErrImagePull", "unexpected status from HEAD request: 429 Too Many Requests"), code: "RegistryUnreachable", waits: onlyByLimit},
		{name: "a registry that is broken, whatever digits the digest has", pod: waiting("ErrImagePull", digest+": unexpected status from HEAD request: 503 Service Unavailable"), code: "RegistryUnreachable", waits: onlyByLimit},
		{name: "digits of a digest are no status", pod: waiting("ErrImagePull", "something new about "+digest), code: "PullFailed", waits: lasting(unknownPullSpan)},
		{name: "a Secret that the kubelet has not seen yet", pod: waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"), code: "ConfigNotSynced", waits: onlyByLimit},
		{name: "a container that is slow to be made", pod: waiting("CreateContainerError", "context deadline exceeded"), code: "StartDelayed", waits: onlyByLimit},
		{name: "a node that is not ready yet", pod: unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"), code: "Unschedulable", waits: onlyByLimit},
		{name: "a volume that is being made", pod: unscheduled("pod has unbound immediate PersistentVolumeClaims"), code: "Unschedulable", waits: onlyByLimit},
		{name: "a volume that is being attached", pod: waiting("ContainerCreating", ""), seen: warned("FailedAttachVolume", "Multi-Attach error"), code: "VolumeNotMounted", waits: onlyByLimit},
		{name: "a network that is not ready", pod: waiting("ContainerCreating", ""), seen: warned("FailedCreatePodSandBox", "network plugin is not ready"), code: "PodSandbox", waits: onlyByLimit},
		{name: "an evicted pod", pod: &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}}, code: "Evicted", waits: onlyByLimit},
		{name: "a back-off that says nothing more keeps what was said before", pod: waiting("ImagePullBackOff", `Back-off pulling image "x"`),
			seen: func(h *history) { h.see(waiting("ErrImagePull", "x: not found")) }, code: "ImageNotFound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHistory()
			if tc.seen != nil {
				tc.seen(h)
			}
			h.see(tc.pod)
			got, ok := diagnose(tc.pod, h, noon)
			require.True(t, ok)
			require.EqualValues(t, tc.code, got.code)
			require.Equal(t, tc.waits, got.patience)
			require.NotEmpty(t, got.message)

			ends, _ := h.ends(got, noon)
			require.Equal(t, tc.waits == atOnce, ends)
			if tc.waits.span > 0 {
				ends, left := h.ends(got, noon.Add(tc.waits.span-time.Second))
				require.False(t, ends)
				require.Equal(t, time.Second, left)
				ends, _ = h.ends(got, noon.Add(tc.waits.span))
				require.True(t, ends)
			}
		})
	}
}

func TestDiagnoseNothing(t *testing.T) {
	started := true
	running := podWith(corev1.ContainerStatus{Ready: true, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	leaving := waiting("ErrImagePull", "not found")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	for name, pod := range map[string]*corev1.Pod{
		"a pod that is ready":              running,
		"a pod that is being made":         waiting("ContainerCreating", ""),
		"a pod that is on its way out":     leaving,
		"a pod that nobody has looked at ": {},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := diagnose(pod, newHistory(), noon)
			require.False(t, ok)
		})
	}
}

func TestExits(t *testing.T) {
	h := newHistory()
	for i, code := range []int32{1, 2} {
		pod := exited(code, "Error", int32(i))
		h.see(pod)
		c, ok := diagnose(pod, h, noon)
		require.True(t, ok)
		require.Equal(t, onlyByLimit, c.patience, "codes that differ are no loop yet")
	}
	pod := exited(2, "Error", 2)
	h.see(pod)
	c, _ := diagnose(pod, h, noon)
	require.Equal(t, atOnce, c.patience)
	require.Equal(t, "container main ended with exit code 2, 2 times", c.message)

	killed := exited(139, "Error", 2)
	c, _ = diagnose(killed, newHistory(), noon)
	require.Equal(t, "SIGSEGV", c.signal)
	require.Equal(t, 139, *c.exit)
}

func TestReadinessIsGivenTime(t *testing.T) {
	started := true
	pod := podWith(corev1.ContainerStatus{Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}})
	fails := func() *history {
		h := newHistory()
		h.warn(warning{name: "e", reason: "Unhealthy", message: "Readiness probe failed: connection refused", container: "main", at: noon})
		return h
	}
	end := func(t *testing.T, h *history, after time.Duration) (bool, time.Duration) {
		t.Helper()
		c, ok := diagnose(pod, h, noon.Add(after))
		require.True(t, ok)
		require.Equal(t, release.CodeProbeFailed, c.code)
		return h.ends(c, noon.Add(after))
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

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"the key is hunter22 today":            "the key is [redacted] today",
		"DATABASE_PASSWORD=abcdef next":        "DATABASE_PASSWORD=[redacted] next",
		`{"apiKey":"abcdef","a":1}`:            `{"apiKey":"[redacted]","a":1}`,
		"Authorization: Bearer abc.def.ghi":    "Authorization: Bearer [redacted]",
		"postgres://user:letmein@db:5432/x":    "postgres://user:[redacted]@db:5432/x",
		"nothing here: http://db:5432/x is up": "nothing here: http://db:5432/x is up",
	} {
		require.Equal(t, want, release.Redact(in, []string{"hunter22"}))
	}
}
