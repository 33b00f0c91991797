package kube

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/release"
)

// cause is what keeps one pod from serving, at one moment.
type cause struct {
	code      release.Code
	container string // empty: the pod as a whole
	message   string
	hint      string
	exit      *int
	signal    string
	ran       bool // the container ran, so that it may have said why
	patience  patience
	at        time.Time // when a controller last said so; zero: as it was read
}

// patience says when a cause ends the wait.
type patience struct {
	limit bool          // only the time limit does: it may pass by itself
	span  time.Duration // it does once it has lasted so long; 0 is at once
}

var (
	atOnce      = patience{}
	onlyByLimit = patience{limit: true}
)

func lasting(d time.Duration) patience { return patience{span: d} }

// Patience with what is likely, but not sure, to last.
const (
	unschedulableSpan = 15 * time.Second
	unknownPullSpan   = 20 * time.Second
	quotaSpan         = 3 * time.Second
	staleSpan         = 3 * time.Second  // for what a condition said before this rollout
	warmUpSpan        = 30 * time.Second // for a readiness probe without a startup probe before it
)

// diagnose finds what keeps a pod from serving; false if nothing is known to. It
// classifies by message and by what was seen before, never by the reason alone.
func diagnose(pod *corev1.Pod, h *history, now time.Time) (cause, bool) {
	if pod.DeletionTimestamp != nil {
		return cause{}, false
	}
	if pod.Status.Phase == corev1.PodFailed {
		return ofFailedPod(pod, h)
	}
	if c, ok := ofScheduling(pod); ok {
		return c, true
	}
	for i := range pod.Status.InitContainerStatuses {
		if c, ok := ofContainer(pod, &pod.Status.InitContainerStatuses[i], h, true); ok {
			return c, true
		}
	}
	for i := range pod.Status.ContainerStatuses {
		if c, ok := ofContainer(pod, &pod.Status.ContainerStatuses[i], h, false); ok {
			return c, true
		}
	}
	if c, ok := ofVolumes(h); ok {
		return c, true
	}
	return ofReadiness(pod, h, now)
}

func ofFailedPod(pod *corev1.Pod, h *history) (cause, bool) {
	switch pod.Status.Reason {
	case "Evicted", "Preempting", "NodeLost", "Shutdown", "Terminated", "NodeShutdown":
		return cause{code: release.CodeEvicted, message: firstOf(pod.Status.Message, pod.Status.Reason), patience: onlyByLimit,
			hint: "the node is short of something; the controller makes another pod"}, true
	case "DeadlineExceeded":
		return cause{code: release.CodePodDeadline, message: firstOf(pod.Status.Message, "the pod ran longer than activeDeadlineSeconds"), patience: onlyByLimit}, true
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if end := list[i].State.Terminated; end != nil && end.ExitCode != 0 {
				return ofExit(&list[i], end, h, onlyByLimit), true
			}
		}
	}
	if pod.Status.Reason != "" {
		return cause{code: release.CodePodRejected, message: oneLine(pod.Status.Reason + ": " + pod.Status.Message), patience: onlyByLimit}, true
	}
	return cause{}, false
}

func ofScheduling(pod *corev1.Pod) (cause, bool) {
	for _, cond := range pod.Status.Conditions {
		if cond.Type != corev1.PodScheduled || cond.Status != corev1.ConditionFalse {
			continue
		}
		switch {
		case cond.Reason == corev1.PodReasonSchedulingGated:
			return cause{code: release.CodeSchedulingGated, message: firstOf(cond.Message, "scheduling is gated"), patience: onlyByLimit}, true
		case missingClaim.MatchString(cond.Message):
			return cause{code: release.CodeClaimMissing, message: cond.Message, patience: atOnce, hint: "create the PersistentVolumeClaim, or put it among the role's manifests"}, true
		}
		c := cause{code: release.CodeUnschedulable, message: cond.Message, patience: lasting(unschedulableSpan),
			hint: "no node takes this pod: compare its requests, nodeSelector and tolerations with `kubectl describe nodes`"}
		if pod.Status.NominatedNodeName != "" || mayPass.MatchString(cond.Message) {
			c.patience = onlyByLimit
		}
		return c, true
	}
	return cause{}, false
}

var (
	missingClaim = regexp.MustCompile(`persistentvolumeclaim "[^"]*" not found`)
	// mayPass: a node is starting or stopping, or a volume is being made.
	mayPass = regexp.MustCompile(`node\.kubernetes\.io/(not-ready|unreachable|network-unavailable)|node\.cloudprovider\.kubernetes\.io/uninitialized|unbound immediate PersistentVolumeClaims|no nodes available`)
)

func ofContainer(pod *corev1.Pod, s *corev1.ContainerStatus, h *history, init bool) (cause, bool) {
	if s.Ready && s.State.Running != nil {
		return cause{}, false
	}
	c, ok := ofWaiting(s, h)
	if !ok {
		c, ok = ofExits(pod, s, h)
		if ok && init && c.code == release.CodeCrashLoop {
			c.code, c.hint = release.CodeInitFailed, "an init container must end with 0 before the others start"
		}
	}
	if ok {
		c.container = s.Name
	}
	return c, ok
}

// ofWaiting looks at a container that cannot be started.
func ofWaiting(s *corev1.ContainerStatus, h *history) (cause, bool) {
	w := s.State.Waiting
	if w == nil {
		return cause{}, false
	}
	switch w.Reason {
	case "InvalidImageName":
		return cause{code: release.CodeInvalidImageName, message: firstOf(w.Message, s.Image), patience: atOnce, hint: "correct the image's name"}, true
	case "ErrImageNeverPull":
		return cause{code: release.CodeImageNeverPulled, message: w.Message, patience: atOnce, hint: "imagePullPolicy is Never and the node does not have the image"}, true
	case "SignatureValidationFailed":
		return cause{code: release.CodeSignatureRefused, message: w.Message, patience: atOnce, hint: "the node's policy does not accept the image's signature"}, true
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
		return ofPull(s.Image, firstOf(h.pulls[s.Name], w.Message)), true
	case "CreateContainerConfigError":
		return ofConfig(w.Message), true
	case "CreateContainerError", "RunContainerError":
		if start, ok := ofStart(w.Message); ok {
			return start, true
		}
		return cause{code: release.CodeContainerNotCreated, message: w.Message, patience: lasting(unknownPullSpan)}, true
	}
	return cause{}, false
}

var (
	unreachable   = regexp.MustCompile(`(?i)dial tcp|i/o timeout|connection refused|connection reset|no such host|TLS handshake timeout|server misbehaving|network is unreachable|no route to host|deadline exceeded|unexpected EOF|: EOF|toomanyrequests|too many requests|status(?: code)?:? (?:429|5\d\d)|(?:^|[^:\d])(?:429|5\d\d) [A-Z]|service unavailable|QPS exceeded`)
	deniedPull    = regexp.MustCompile(`(?i)unauthorized|authorization failed|failed to authorize|access denied|denied:|requested access|no basic auth credentials|insufficient_scope|authentication required|forbidden|\b40[13]\b`)
	wrongPlatform = regexp.MustCompile(`(?i)no match for platform|no matching manifest|does not match the (?:specified|requested) platform|no image found in (?:manifest list|image index) for`)
	unknownImage  = regexp.MustCompile(`(?i)manifest unknown|MANIFEST_UNKNOWN|NAME_UNKNOWN|name unknown|not found|repository .* does not exist|no such manifest|is not in the registry|\b404\b`)
	hexDigits     = regexp.MustCompile(`[0-9a-f]{12,}`)
)

// ofPull tells apart what a registry said. Being away comes first: its wording
// may hold that of the others.
func ofPull(image, message string) cause {
	message = firstOf(message, "cannot pull "+image)
	words := hexDigits.ReplaceAllString(message, "") // a digest may hold the digits of a status
	switch {
	case unreachable.MatchString(words):
		return cause{code: release.CodeRegistryUnreachable, message: message, patience: onlyByLimit, hint: "the node cannot reach the registry; it goes on trying"}
	case wrongPlatform.MatchString(words):
		return cause{code: release.CodeNoMatchingPlatform, message: message, patience: atOnce, hint: "build the image for the node's platform (images.<name>.platforms)"}
	case deniedPull.MatchString(words):
		return cause{code: release.CodePullDenied, message: message, patience: atOnce, hint: "the pod's imagePullSecrets do not open this repository, or it does not exist"}
	case unknownImage.MatchString(words):
		return cause{code: release.CodeImageNotFound, message: message, patience: atOnce, hint: "the registry does not have this digest or tag"}
	default:
		return cause{code: release.CodePullFailed, message: message, patience: lasting(unknownPullSpan)}
	}
}

var (
	missingKey    = regexp.MustCompile(`couldn't find key (\S+) in (Secret|ConfigMap) (\S+)|references non-existent (secret|config) key`)
	missingObject = regexp.MustCompile(`(secret|configmap)s? "([^"]+)" not found`)
	syncing       = regexp.MustCompile(`(?i)failed to sync (secret|configmap) cache|timed out waiting|object .* not registered`)
)

// ofConfig looks at why a container's environment cannot be put together.
func ofConfig(message string) cause {
	switch {
	case syncing.MatchString(message):
		return cause{code: release.CodeConfigNotSynced, message: message, patience: onlyByLimit}
	case missingKey.MatchString(message):
		code := release.CodeSecretKeyMissing
		if strings.Contains(message, "ConfigMap") || strings.Contains(message, "config key") {
			code = release.CodeConfigMapKeyMissing
		}
		return cause{code: code, message: message, patience: atOnce, hint: "add the key, or correct the reference to it"}
	case missingObject.MatchString(message):
		code := release.CodeSecretMissing
		if strings.Contains(missingObject.FindString(message), "configmap") {
			code = release.CodeConfigMapMissing
		}
		return cause{code: code, message: message, patience: atOnce, hint: "create it, or correct the reference to it"}
	case strings.Contains(message, "runAsNonRoot") || strings.Contains(message, "non-root policy") || strings.Contains(message, "non-numeric user"):
		return cause{code: release.CodeRunsAsRoot, message: message, patience: atOnce, hint: "give the image a numeric user other than 0, or set securityContext.runAsUser"}
	default:
		return cause{code: release.CodeContainerConfig, message: message, patience: atOnce}
	}
}

var (
	wrongFormat = regexp.MustCompile(`(?i)exec format error`)
	notStarted  = regexp.MustCompile(`(?i)executable file not found|no such file or directory|permission denied|not a directory|invalid argument: unknown|is a directory`)
	startMayGo  = regexp.MustCompile(`(?i)deadline exceeded|is reserved for|timeout|too many open files|resource temporarily unavailable`)
)

// ofStart looks at why a process could not be started; false if it may yet.
func ofStart(message string) (cause, bool) {
	switch {
	case wrongFormat.MatchString(message):
		return cause{code: release.CodeExecFormat, message: message, patience: atOnce, hint: "the program is for another architecture than the node's; build the image for its platform"}, true
	case startMayGo.MatchString(message):
		return cause{code: release.CodeStartDelayed, message: message, patience: onlyByLimit}, true
	case notStarted.MatchString(message):
		return cause{code: release.CodeStartFailed, message: message, patience: atOnce, hint: "the entrypoint or its working directory is not in the image"}, true
	}
	return cause{}, false
}

var signals = map[int32]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM"}

// signalOf is the signal that ended a process; empty if none did.
func signalOf(end *corev1.ContainerStateTerminated) string {
	n := end.Signal
	if n == 0 && end.ExitCode > 128 {
		n = end.ExitCode - 128
	}
	return signals[n]
}

// ofExits looks at a container that ran and ended. One exit may be chance; the
// second with the same code is not.
func ofExits(pod *corev1.Pod, s *corev1.ContainerStatus, h *history) (cause, bool) {
	last := s.State.Terminated
	if last == nil {
		last = s.LastTerminationState.Terminated
	}
	if last == nil || s.State.Running != nil && !h.loops(s, last) {
		return cause{}, false
	}
	if start, ok := ofStart(last.Message); ok && (last.Reason == "StartError" || last.Reason == "ContainerCannotRun") {
		code := int(last.ExitCode)
		start.exit = &code
		return start, true
	}
	if last.ExitCode == 0 && pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return cause{}, false
	}
	p := onlyByLimit
	if h.loops(s, last) && pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		p = atOnce
	}
	return ofExit(s, last, h, p), true
}

func ofExit(s *corev1.ContainerStatus, end *corev1.ContainerStateTerminated, h *history, p patience) cause {
	code := int(end.ExitCode)
	c := cause{code: release.CodeCrashLoop, container: s.Name, exit: &code, signal: signalOf(end), ran: true, patience: p}
	times := h.count(s, end)
	how := fmt.Sprintf("exit code %d", code)
	if c.signal != "" {
		how += " (" + c.signal + ")"
	}
	c.message = fmt.Sprintf("container %s ended with %s", s.Name, how)
	if times > 1 {
		c.message += fmt.Sprintf(", %d times", times)
	}
	if end.Message != "" {
		c.message += ": " + oneLine(end.Message)
	}
	switch {
	case end.Reason == "OOMKilled":
		c.code, c.hint = release.CodeOOMKilled, "the container needs more memory than its limit: raise resources.limits.memory"
	case h.probeKilled(s.Name) != "":
		c.code, c.message = release.CodeProbeFailed, c.message+": "+h.probeKilled(s.Name)
		c.hint = "the kubelet killed it because its probe failed; give it a startupProbe if it only needs more time"
	default:
		c.hint = "its last lines say why: mend it and release again"
	}
	return c
}

// ofVolumes looks at mounts, which only events tell of.
func ofVolumes(h *history) (cause, bool) {
	w, ok := h.last("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
	if !ok {
		return cause{}, false
	}
	switch {
	case syncing.MatchString(w.message):
		return cause{code: release.CodeConfigNotSynced, message: w.message, patience: onlyByLimit}, true
	case missingKey.MatchString(w.message), missingObject.MatchString(w.message):
		return ofConfig(w.message), true
	case w.reason == "FailedCreatePodSandBox" && strings.Contains(w.message, "no runtime for"):
		return cause{code: release.CodeRuntimeClassUnknown, message: w.message, patience: atOnce, hint: "the node does not have the pod's runtimeClassName"}, true
	case w.reason == "FailedCreatePodSandBox":
		return cause{code: release.CodePodSandbox, message: w.message, patience: onlyByLimit}, true
	default:
		return cause{code: release.CodeVolumeNotMounted, message: w.message, patience: onlyByLimit}, true
	}
}

// ofReadiness looks at containers that run and whose probe fails. A probe is
// given twice the time in which it would count as failed, and without a startup
// probe before it at least the time in which a program warms up.
func ofReadiness(pod *corev1.Pod, h *history, now time.Time) (cause, bool) {
	for _, s := range pod.Status.ContainerStatuses {
		w, failed := h.probe(s.Name)
		if s.Ready || s.State.Running == nil || !failed {
			continue
		}
		c := cause{code: release.CodeProbeFailed, container: s.Name, message: fmt.Sprintf("container %s runs and is not ready: %s", s.Name, w.message),
			ran: true, patience: onlyByLimit, hint: "ask the container itself what its probe asks: kubectl port-forward, or its log below"}
		spec := containerNamed(pod, s.Name)
		if spec == nil || spec.ReadinessProbe == nil || s.Started == nil || !*s.Started {
			return c, true
		}
		probe := spec.ReadinessProbe
		allowed := 2 * time.Duration(max(probe.PeriodSeconds, 1)) * time.Second * time.Duration(max(probe.FailureThreshold, 1))
		if spec.StartupProbe == nil {
			allowed = max(allowed, warmUpSpan)
		}
		allowed += time.Duration(probe.InitialDelaySeconds) * time.Second
		c.patience = lasting(max(0, s.State.Running.StartedAt.Add(allowed).Sub(h.since(c, now))))
		return c, true
	}
	return cause{}, false
}

func containerNamed(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	return nil
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
