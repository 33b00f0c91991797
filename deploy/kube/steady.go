package kube

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// steadyAfter is how long a container that was restarted must stay up to be good
// again: after so long a kubelet forgets its restarts as well.
const steadyAfter = 10 * time.Minute

// startUp is the age of a pod in which one restart is no sign of a fault: what the
// program needs may not have been there yet.
const startUp = 30 * time.Second

// steadiness is whether pods stay up.
type steadiness struct {
	unsteady string      // which container does not, in words; empty if all do
	info     string      // a restart that is no sign of a fault
	pod      *corev1.Pod // the one that is told of as unsteady
}

// steadinessOf tells of the container that was restarted most.
func steadinessOf(pods []*corev1.Pod, now time.Time) steadiness {
	var out steadiness
	var most, harmless int32
	unsteady := 0
	for _, p := range pods {
		counted := false
		for _, s := range p.Status.ContainerStatuses {
			end := cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated)
			if end == nil || s.RestartCount == 0 && s.State.Running != nil {
				continue
			}
			told := restartsText(p, s, end, now)
			if isSteady(p, s, end, now) {
				if s.RestartCount > harmless {
					out.info, harmless = told, s.RestartCount
				}
				continue
			}
			if !counted {
				unsteady, counted = unsteady+1, true
			}
			if out.pod == nil || s.RestartCount > most {
				out.unsteady, out.pod, most = told, p, s.RestartCount
			}
		}
	}
	switch {
	case unsteady == 2:
		out.unsteady += "; 1 other as well"
	case unsteady > 2:
		out.unsteady += fmt.Sprintf("; %d others as well", unsteady-1)
	}
	return out
}

// isSteady reports whether a container that has ended before is likely to stay up: it
// has for long, or it ended once while its pod was new, or together with its node. A
// container of a bare Pod is restarted by each change of its image as well.
func isSteady(p *corev1.Pod, s corev1.ContainerStatus, end *corev1.ContainerStateTerminated, now time.Time) bool {
	switch {
	case s.State.Running == nil:
		return false
	case now.Sub(end.FinishedAt.Time) >= steadyAfter, end.Reason == "Unknown", metav1.GetControllerOfNoCopy(p) == nil:
		return true
	}
	return s.RestartCount == 1 && end.FinishedAt.Sub(p.CreationTimestamp.Time) < startUp
}

func restartsText(p *corev1.Pod, s corev1.ContainerStatus, end *corev1.ContainerStateTerminated, now time.Time) string {
	what := fmt.Sprintf("container %s of %s ", s.Name, p.Name)
	if s.State.Running == nil {
		what += "is down, "
	}
	switch s.RestartCount {
	case 0:
		what += "ended"
	case 1:
		what += "was restarted once, last"
	default:
		what += fmt.Sprintf("was restarted %d times, last", s.RestartCount)
	}
	return what + fmt.Sprintf(" %s ago after exit code %d", now.Sub(end.FinishedAt.Time).Round(time.Second), end.ExitCode)
}
