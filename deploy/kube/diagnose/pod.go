// Package diagnose finds what keeps a rollout from getting ready: from the status of
// pods and workloads, and from events, to a cause with a code. It asks the cluster
// nothing.
//
// To add a cause of failure: declare its code in package release, and return it from
// the function here that reads the place where the cluster tells of it. Pod lists
// those functions in order; for a workload it is the one of its kind in Workload.
package diagnose

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// Cause is what keeps one pod or workload from getting ready, at one moment.
type Cause struct {
	Code      release.Code
	Container string // empty: the pod as a whole
	Message   string
	Hint      string
	ExitCode  *int
	Signal    string
	Ran       bool // the container ran, so that its log may say why
	Grace     Grace
	From      time.Time // from when on the grace runs; zero: from when the cause was first observed
	At        time.Time // when a controller wrote it into a condition; zero: not known
}

// Grace is how long a cause may last before it ends the rollout.
type Grace time.Duration

const (
	AtOnce    Grace = 0  // no time will change it
	AtTimeout Grace = -1 // it may pass by itself: only the rollout's own timeout ends it

	// StaleGrace is for what a controller's condition said before the rollout began:
	// the controller corrects it only some time after the change.
	StaleGrace = Grace(3 * time.Second)

	// These are likely, but not certain, to last.
	unschedulableGrace = Grace(15 * time.Second)
	unknownGrace       = Grace(20 * time.Second)
	quotaGrace         = Grace(3 * time.Second)
)

// Pod finds what keeps a pod from serving; false if nothing is known to. It
// classifies by message and by what was seen before, never by the reason alone. Of
// several causes it is the one that lasts most certainly, and of those the first in
// the order in which the kubelet starts containers.
func Pod(pod *corev1.Pod, h *History) (Cause, bool) {
	if pod.DeletionTimestamp != nil {
		return Cause{}, false
	}
	if pod.Status.Phase == corev1.PodFailed {
		return failedPod(pod, h)
	}
	if c, ok := unscheduled(pod); ok {
		return c, true
	}
	var found []Cause
	containers := containersOf(pod)
	for _, one := range containers {
		if c, ok := one.cause(h); ok {
			found = append(found, c)
		}
	}
	if c, ok := notMounted(h); ok && !slices.ContainsFunc(containers, container.started) {
		found = append(found, c)
	}
	for _, one := range containers {
		if c, ok := one.notReady(h); ok {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return Cause{}, false
	}
	return slices.MinFunc(found, func(a, b Cause) int { return cmp.Compare(a.certainty(), b.certainty()) }), true
}

// certainty orders causes: the less, the more certainly does it last.
func (c Cause) certainty() int {
	switch {
	case c.Grace == AtTimeout:
		return 2
	case c.Grace != AtOnce, !c.From.IsZero():
		return 1
	}
	return 0
}

// failedPod reads a pod whose phase is Failed: it will not run again.
func failedPod(pod *corev1.Pod, h *History) (Cause, bool) {
	switch pod.Status.Reason {
	case "Evicted", "Preempting", "NodeLost", "Shutdown", "Terminated", "NodeShutdown":
		return Cause{Code: release.CodeEvicted, Message: cmp.Or(pod.Status.Message, pod.Status.Reason), Grace: AtTimeout,
			Hint: "the node is short of something; the controller creates another pod"}, true
	case "DeadlineExceeded":
		return Cause{Code: release.CodePodDeadline, Message: cmp.Or(pod.Status.Message, "the pod ran longer than activeDeadlineSeconds"), Grace: AtTimeout}, true
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if end := list[i].State.Terminated; end != nil && end.ExitCode != 0 {
				return exitCause(&list[i], end, h, AtTimeout), true
			}
		}
	}
	if pod.Status.Reason != "" {
		return Cause{Code: release.CodePodRejected, Message: release.OneLine(pod.Status.Reason + ": " + pod.Status.Message), Grace: AtTimeout}, true
	}
	return Cause{}, false
}

// unscheduled reads the condition by which the scheduler says that no node was found.
func unscheduled(pod *corev1.Pod) (Cause, bool) {
	for _, cond := range pod.Status.Conditions {
		if cond.Type != corev1.PodScheduled || cond.Status != corev1.ConditionFalse {
			continue
		}
		switch {
		case cond.Reason == corev1.PodReasonSchedulingGated:
			return Cause{Code: release.CodeSchedulingGated, Message: cmp.Or(cond.Message, "scheduling is gated"), Grace: AtTimeout}, true
		case missingClaim().MatchString(cond.Message):
			return Cause{Code: release.CodeClaimMissing, Message: cond.Message, Grace: AtOnce, Hint: "create the PersistentVolumeClaim, or put it among the role's manifests"}, true
		}
		c := Cause{Code: release.CodeUnschedulable, Message: cond.Message, Grace: unschedulableGrace,
			Hint: "no node takes this pod: compare its requests, nodeSelector and tolerations with `kubectl describe nodes`"}
		if pod.Status.NominatedNodeName != "" || mayPass().MatchString(cond.Message) {
			c.Grace = AtTimeout
		}
		return c, true
	}
	return Cause{}, false
}

var (
	missingClaim = pattern.Lazy(`persistentvolumeclaim "[^"]*" not found`)
	// mayPass: a node is starting or stopping, or a volume is being provisioned.
	mayPass = pattern.Lazy(`node\.kubernetes\.io/(not-ready|unreachable|network-unavailable)|node\.cloudprovider\.kubernetes\.io/uninitialized|unbound immediate PersistentVolumeClaims|no nodes available`)
)
