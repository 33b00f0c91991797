package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// container is one container of a pod as its specification and its status have it.
type container struct {
	spec     corev1.Container
	status   *corev1.ContainerStatus
	finishes bool // an init container: it has to end before the others start
	restarts bool // it is started again whenever it ends
}

// containersOf are a pod's containers in the order in which the kubelet starts them,
// those that it has no status of left out.
func containersOf(pod *corev1.Pod) []container {
	var out []container
	add := func(specs []corev1.Container, list []corev1.ContainerStatus, init bool) {
		for i := range list {
			one := container{status: &list[i], finishes: init, restarts: pod.Spec.RestartPolicy == corev1.RestartPolicyAlways}
			if at := slices.IndexFunc(specs, func(c corev1.Container) bool { return c.Name == list[i].Name }); at >= 0 {
				one.spec = specs[at]
			}
			if init && one.spec.RestartPolicy != nil && *one.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				one.finishes, one.restarts = false, true // a sidecar: it runs beside the others
			}
			out = append(out, one)
		}
	}
	add(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	add(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
	return out
}

// started reports whether the container has ever been started: then the pod's volumes
// are mounted, and its network is there.
func (one container) started() bool {
	s := one.status
	return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
}

// cause finds what keeps the container from running.
func (one container) cause(h *History) (Cause, bool) {
	s := one.status
	if s.Ready && s.State.Running != nil {
		return Cause{}, false
	}
	c, ok := waiting(s, h)
	if !ok {
		c, ok = one.exited(h)
		if ok && one.finishes && c.Code == release.CodeCrashLoop {
			c.Code, c.Hint = release.CodeInitFailed, "an init container must end with 0 before the others start"
		}
	}
	if ok {
		c.Container = s.Name
		if named := "container " + s.Name; !strings.Contains(c.Message, named) {
			c.Message = named + ": " + c.Message
		}
	}
	return c, ok
}

// waiting reads the reason why a container has not been started. The reasons are the
// kubelet's.
func waiting(s *corev1.ContainerStatus, h *History) (Cause, bool) {
	w := s.State.Waiting
	if w == nil {
		return Cause{}, false
	}
	switch w.Reason {
	case "InvalidImageName":
		return Cause{Code: release.CodeInvalidImageName, Message: cmp.Or(w.Message, s.Image), Grace: AtOnce, Hint: "correct the image's name"}, true
	case "ErrImageNeverPull":
		return Cause{Code: release.CodeImageNeverPulled, Message: w.Message, Grace: AtOnce, Hint: "imagePullPolicy is Never and the node does not have the image"}, true
	case "SignatureValidationFailed":
		return Cause{Code: release.CodeSignatureRefused, Message: w.Message, Grace: AtOnce, Hint: "the node's policy does not accept the image's signature"}, true
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
		return Pull(s.Image, cmp.Or(h.pulls[s.Name], w.Message)), true
	case "ContainerCreating", "PodInitializing":
		// The event of a failed pull arrives about 10 s before the status shows it.
		if failed, ok := h.failedPull(s.Name); ok {
			return Pull(s.Image, failed.Message), true
		}
	case "CreateContainerConfigError":
		return configuration(w.Message), true
	case "CreateContainerError", "RunContainerError":
		if c, ok := startError(w.Message); ok {
			return c, true
		}
		return Cause{Code: release.CodeContainerNotCreated, Message: w.Message, Grace: unknownGrace}, true
	}
	return Cause{}, false
}

// These are parts of what the container runtime says when it cannot start a process.
var (
	wrongFormat  = pattern.Lazy(`(?i)exec format error`)
	notAllowed   = pattern.Lazy(`(?i)permission denied|is a directory`)
	notStarted   = pattern.Lazy(`(?i)executable file not found|no such file or directory|not a directory|invalid argument: unknown`)
	startMayPass = pattern.Lazy(`(?i)deadline exceeded|is reserved for|timeout|too many open files|resource temporarily unavailable`)
)

// startError reads why the runtime could not start a process; false: the message is
// not known.
func startError(message string) (Cause, bool) {
	switch {
	case wrongFormat().MatchString(message):
		return Cause{Code: release.CodeExecFormat, Message: message, Grace: AtOnce, Hint: "the program is for another architecture than the node's; build the image for its platform"}, true
	case startMayPass().MatchString(message):
		return Cause{Code: release.CodeStartDelayed, Message: message, Grace: AtTimeout}, true
	case notAllowed().MatchString(message):
		return Cause{Code: release.CodeStartFailed, Message: message, Grace: AtOnce,
			Hint: "the entrypoint is in the image and not executable for the container's user: give the file its execute bit, or start it by its interpreter"}, true
	case notStarted().MatchString(message):
		return Cause{Code: release.CodeStartFailed, Message: message, Grace: AtOnce, Hint: "the entrypoint or its working directory is not in the image"}, true
	}
	return Cause{}, false
}

// RefineFromLog gives a failure the cause that only the log of its container tells.
func RefineFromLog(f *release.Failure) {
	for _, line := range f.Log {
		if wrongFormat().MatchString(line) && f.Code == release.CodeCrashLoop {
			c, _ := startError(line)
			f.Message += ": " + line
			f.Code, f.Hint = c.Code, c.Hint
			return
		}
	}
}

// LastExit is the cause for the last exit of a pod's container, whether or not it runs
// again; without a name for that of all containers. false if none has ended.
func LastExit(pod *corev1.Pod, name string, h *History) (Cause, bool) {
	var last *corev1.ContainerStateTerminated
	var of container
	for _, one := range containersOf(pod) {
		end := cmp.Or(one.status.State.Terminated, one.status.LastTerminationState.Terminated)
		if end == nil || one.finishes || name != "" && one.status.Name != name || last != nil && !last.FinishedAt.Before(&end.FinishedAt) {
			continue
		}
		last, of = end, one
	}
	if last == nil {
		return Cause{}, false
	}
	return exitCause(of.status, last, h, AtOnce), true
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

// exited reads a container that ran and ended. One exit may be chance; the
// second with the same code is not.
func (one container) exited(h *History) (Cause, bool) {
	s := one.status
	last := s.State.Terminated
	if last == nil {
		last = s.LastTerminationState.Terminated
	}
	if last == nil || s.State.Running != nil && !h.loops(s, last) {
		return Cause{}, false
	}
	if c, ok := startError(last.Message); ok && (last.Reason == "StartError" || last.Reason == "ContainerCannotRun") {
		code := int(last.ExitCode)
		c.ExitCode = &code
		return c, true
	}
	if last.ExitCode == 0 && (one.finishes || !one.restarts) {
		return Cause{}, false
	}
	grace := AtTimeout
	if h.loops(s, last) && one.restarts {
		grace = AtOnce
	}
	return exitCause(s, last, h, grace), true
}

// exitCause is the cause for a container that ended.
func exitCause(s *corev1.ContainerStatus, end *corev1.ContainerStateTerminated, h *History, grace Grace) Cause {
	code := int(end.ExitCode)
	c := Cause{Code: release.CodeCrashLoop, Container: s.Name, ExitCode: &code, Signal: signalOf(end), Ran: true, Grace: grace}
	times := h.count(s, end)
	how := fmt.Sprintf("exit code %d", code)
	if c.Signal != "" {
		how += " (" + c.Signal + ")"
	}
	c.Message = fmt.Sprintf("container %s ended with %s", s.Name, how)
	if times > 1 {
		c.Message += fmt.Sprintf(", %d times", times)
	}
	if end.Message != "" {
		c.Message += ": " + release.OneLine(end.Message)
	}
	switch {
	case end.Reason == "OOMKilled":
		c.Code, c.Hint = release.CodeOOMKilled, "the container needs more memory than its limit: raise resources.limits.memory"
	case h.probeKilled(s.Name) != "":
		c.Code, c.Message = release.CodeProbeFailed, c.Message+": "+h.probeKilled(s.Name)
		c.Hint = "the kubelet killed it because its probe failed; give it a startupProbe if it only needs more time"
	default:
		c.Hint = "the last log lines say why: fix it and release again"
	}
	return c
}

// warmUp is how long a program without a startup probe may take to get ready.
const warmUp = 30 * time.Second

// notReady reads a container that runs and whose probe fails. A probe is given twice
// the time in which it would count as failed, and without a startup probe before it at
// least the time in which a program warms up: until then nothing tells a program that
// is broken from one that is slow to start.
func (one container) notReady(h *History) (Cause, bool) {
	s, probe := one.status, one.spec.ReadinessProbe
	w, failed := h.probe(s.Name)
	if one.finishes || s.Ready || s.State.Running == nil || !failed {
		return Cause{}, false
	}
	c := Cause{Code: release.CodeProbeFailed, Container: s.Name, Message: fmt.Sprintf("container %s runs and is not ready: %s", s.Name, w.Message),
		Ran: true, Grace: AtTimeout, Hint: "ask the container itself what its probe asks: kubectl port-forward, or its log below"}
	if probe == nil || s.Started == nil || !*s.Started {
		return c, true
	}
	allowed := 2 * time.Duration(max(probe.PeriodSeconds, 1)) * time.Second * time.Duration(max(probe.FailureThreshold, 1))
	if one.spec.StartupProbe == nil {
		allowed = max(allowed, warmUp)
	}
	allowed += time.Duration(probe.InitialDelaySeconds) * time.Second
	c.Grace, c.From = AtOnce, s.State.Running.StartedAt.Add(allowed)
	return c, true
}
