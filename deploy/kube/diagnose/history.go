package diagnose

import (
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/release"
)

// History is what was observed of one pod or workload over time: a pod's status tells
// only of the last exit and the last message.
type History struct {
	code   string    // the cause that was observed last
	first  time.Time // since when it is that one
	exits  map[string]map[exitAt]int32
	pulls  map[string]string // the last error of a pull that says more than "back-off", by container
	events []Warning
}

type exitAt struct{ started, finished int64 }

// Warning is an event of type Warning.
type Warning struct {
	Name, Reason, Message string
	Container             string // empty: of the object as a whole
	At                    time.Time
}

// NewHistory is a history in which nothing has happened yet.
func NewHistory() *History {
	return &History{exits: map[string]map[exitAt]int32{}, pulls: map[string]string{}}
}

// Observe adds a pod's present status.
func (h *History) Observe(pod *corev1.Pod) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			h.ended(s.Name, s.State.Terminated)
			h.ended(s.Name, s.LastTerminationState.Terminated)
			if w := s.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff" && strings.Contains(w.Message, ": ")) {
				h.pulls[s.Name] = w.Message
			}
		}
	}
}

func (h *History) ended(container string, end *corev1.ContainerStateTerminated) {
	if end == nil {
		return
	}
	if h.exits[container] == nil {
		h.exits[container] = map[exitAt]int32{}
	}
	h.exits[container][exitAt{end.StartedAt.Unix(), end.FinishedAt.Unix()}] = end.ExitCode
}

// Warn adds an event; a later state of the same event replaces it. What a kubelet says
// of every pod of its node is left out: it is the cause of no failure.
func (h *History) Warn(w Warning) {
	if w.Reason == "MissingClusterDNS" || w.Reason == "DNSConfigForming" {
		return
	}
	for i := range h.events {
		if h.events[i].Name == w.Name {
			h.events[i] = w
			return
		}
	}
	h.events = append(h.events, w)
}

// count is how often a container is known to have ended as it did last. Exits
// before the first observation are taken to be like those that were observed.
func (h *History) count(s *corev1.ContainerStatus, last *corev1.ContainerStateTerminated) int {
	alike := 0
	for _, code := range h.exits[s.Name] {
		if code == last.ExitCode {
			alike++
		}
	}
	all := int(s.RestartCount)
	if s.State.Running == nil {
		all++ // it is counted when it is started again
	}
	if alike == len(h.exits[s.Name]) {
		return max(alike, all)
	}
	return alike
}

// loops reports whether a container ended twice with the same code, or four
// times in any way. That a probe killed it counts as one exit too: the first kill may
// be that of a program which is slow to start, and the kubelet starts it again at once.
func (h *History) loops(s *corev1.ContainerStatus, last *corev1.ContainerStateTerminated) bool {
	return h.count(s, last) >= 2 || s.RestartCount >= 3
}

// Last is the newest event of one of the reasons; false if there is none.
func (h *History) Last(reasons ...string) (Warning, bool) {
	var found Warning
	for _, w := range h.events {
		for _, r := range reasons {
			if w.Reason == r && !w.At.Before(found.At) {
				found = w
			}
		}
	}
	return found, found.Reason != ""
}

// newest is the newest event of a reason about a container whose message is accepted;
// false if there is none.
func (h *History) newest(reason, container string, accept func(message string) bool) (Warning, bool) {
	var found Warning
	for _, w := range h.events {
		if w.Reason == reason && (w.Container == container || w.Container == "") && accept(w.Message) && !w.At.Before(found.At) {
			found = w
		}
	}
	return found, found.Reason != ""
}

// failedPull is the newest event of a pull that failed.
func (h *History) failedPull(container string) (Warning, bool) {
	return h.newest("Failed", container, func(m string) bool { return strings.HasPrefix(m, "Failed to pull image") })
}

// probe is the newest failure of a container's probe.
func (h *History) probe(container string) (Warning, bool) {
	return h.newest("Unhealthy", container, func(string) bool { return true })
}

// probeKilled is what the probe said for which the kubelet kills a container;
// empty if no such probe failed.
func (h *History) probeKilled(container string) string {
	found, _ := h.newest("Unhealthy", container, func(m string) bool { return strings.HasPrefix(m, "Liveness") || strings.HasPrefix(m, "Startup") })
	return release.OneLine(found.Message)
}

// since is when the present cause was first observed.
func (h *History) since(c Cause, now time.Time) time.Time {
	if key := string(c.Code) + " " + c.Container; h.code != key {
		h.code, h.first = key, now
	}
	return h.first
}

// Clear notes that nothing keeps the pod or workload from getting ready any more.
func (h *History) Clear() { h.code = "" }

// Ends reports whether a cause has outlasted its grace, which ends the rollout; if it
// has not, left is what remains of the grace, 0 if only a change can end it.
func (h *History) Ends(c Cause, now time.Time) (ends bool, left time.Duration) {
	since := h.since(c, now)
	if !c.From.IsZero() {
		since = c.From
	}
	switch c.Grace {
	case AtTimeout:
		return false, 0
	case AtOnce:
		if c.From.IsZero() {
			return true, 0
		}
	}
	left = since.Add(time.Duration(c.Grace)).Sub(now)
	return left <= 0, max(left, 0)
}

// Warnings are the events in one line each, oldest first.
func (h *History) Warnings() []string {
	sort.Slice(h.events, func(i, j int) bool { return h.events[i].At.Before(h.events[j].At) })
	var out []string
	for _, e := range h.events {
		out = append(out, e.Reason+": "+e.Message)
	}
	return out
}
