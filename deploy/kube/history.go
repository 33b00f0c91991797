package kube

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// history is what was seen of one pod over time: its status shows only the last
// exit and the last message.
type history struct {
	code   string    // the cause that was seen last
	first  time.Time // since when it is that one
	exits  map[string]map[exitAt]int32
	pulls  map[string]string // the last error of a pull that says more than "back-off", by container
	events []warning
}

type exitAt struct{ started, finished int64 }

// warning is an event of type Warning.
type warning struct {
	name, reason, message string
	container             string
	at                    time.Time
	count                 int32
}

func newHistory() *history {
	return &history{exits: map[string]map[exitAt]int32{}, pulls: map[string]string{}}
}

// see takes in a pod's present status.
func (h *history) see(pod *corev1.Pod) {
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

func (h *history) ended(container string, end *corev1.ContainerStateTerminated) {
	if end == nil {
		return
	}
	if h.exits[container] == nil {
		h.exits[container] = map[exitAt]int32{}
	}
	h.exits[container][exitAt{end.StartedAt.Unix(), end.FinishedAt.Unix()}] = end.ExitCode
}

// warn takes in an event; a later state of the same one replaces it.
func (h *history) warn(w warning) {
	for i := range h.events {
		if h.events[i].name == w.name {
			h.events[i] = w
			return
		}
	}
	h.events = append(h.events, w)
}

// count is how often a container is known to have ended as it did last. Exits
// before the first look are taken to be like those that were seen.
func (h *history) count(s *corev1.ContainerStatus, last *corev1.ContainerStateTerminated) int {
	same := 0
	for _, code := range h.exits[s.Name] {
		if code == last.ExitCode {
			same++
		}
	}
	all := int(s.RestartCount)
	if s.State.Running == nil {
		all++ // it is counted when it is started again
	}
	if same == len(h.exits[s.Name]) {
		return max(same, all)
	}
	return same
}

// loops reports whether a container ended twice with the same code, or four
// times in any way.
func (h *history) loops(s *corev1.ContainerStatus, last *corev1.ContainerStateTerminated) bool {
	return h.count(s, last) >= 2 || s.RestartCount >= 3
}

// last is the newest event of one of the reasons.
func (h *history) last(reasons ...string) (warning, bool) {
	var found warning
	for _, w := range h.events {
		for _, r := range reasons {
			if w.reason == r && !w.at.Before(found.at) {
				found = w
			}
		}
	}
	return found, found.reason != ""
}

// probe is the newest failure of a container's probe.
func (h *history) probe(container string) (warning, bool) {
	var found warning
	for _, w := range h.events {
		if w.reason == "Unhealthy" && (w.container == container || w.container == "") && !w.at.Before(found.at) {
			found = w
		}
	}
	return found, found.reason != ""
}

// probeKilled is what the probe said for which the kubelet kills a container;
// empty if no such probe failed.
func (h *history) probeKilled(container string) string {
	var found warning
	for _, w := range h.events {
		kills := strings.HasPrefix(w.message, "Liveness") || strings.HasPrefix(w.message, "Startup")
		if w.reason == "Unhealthy" && kills && (w.container == container || w.container == "") && !w.at.Before(found.at) {
			found = w
		}
	}
	return oneLine(found.message)
}

// since is when the present cause was first seen.
func (h *history) since(c cause, now time.Time) time.Time {
	if key := string(c.code) + " " + c.container; h.code != key {
		h.code, h.first = key, now
	}
	return h.first
}

// calm forgets the cause: the pod is fine for now.
func (h *history) calm() { h.code = "" }

// ends reports whether a cause ends the wait now; if not, when to look again: 0
// for not before something changes.
func (h *history) ends(c cause, now time.Time) (bool, time.Duration) {
	since := h.since(c, now)
	switch {
	case c.patience.limit:
		return false, 0
	case c.patience.span == 0:
		return true, 0
	}
	left := since.Add(c.patience.span).Sub(now)
	return left <= 0, max(left, 0)
}
