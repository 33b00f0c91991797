package diagnose

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// Status is what an object's own status says of its readiness.
type Status struct {
	Ready            bool
	HasPods          bool   // Serving and Desired count pods
	Serving, Desired int    // pods of the new revision that are available, and that are asked for
	Missing          string // what readiness lacks, in a few words
	Cause            *Cause // its controller has given up, or cannot create pods
}

// Workload reads the status of a live object. It counts only what the controller says
// of the present generation.
func Workload(u *unstructured.Unstructured) (Status, error) {
	if u.GetDeletionTimestamp() != nil {
		return Status{Missing: "is being deleted"}, nil
	}
	switch gvk := u.GroupVersionKind(); gvk.Group + "/" + gvk.Kind {
	case "apps/Deployment":
		return read(u, deployment)
	case "apps/StatefulSet":
		return read(u, statefulSet)
	case "apps/DaemonSet":
		return read(u, daemonSet)
	case "apps/ReplicaSet":
		return read(u, replicaSet)
	case "batch/Job":
		return read(u, job)
	case "/Pod":
		return read(u, podPhase)
	case "/PersistentVolumeClaim":
		return read(u, volumeClaim)
	}
	return anyKind(u)
}

func read[T any](u *unstructured.Unstructured, status func(*T) Status) (Status, error) {
	typed, err := object.As[T](u)
	if err != nil {
		return Status{}, err
	}
	return status(typed), nil
}

func deployment(d *appsv1.Deployment) Status {
	// The status counts old and new available pods in one; the old are taken to be available.
	old := d.Status.Replicas - d.Status.UpdatedReplicas
	s := Status{HasPods: true, Desired: int(replicas(d.Spec.Replicas)), Serving: int(max(0, min(d.Status.UpdatedReplicas, d.Status.AvailableReplicas-old)))}
	if d.Status.ObservedGeneration < d.Generation {
		s.Serving, s.Missing = 0, "its controller has not observed the change yet"
		return s
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			s.Cause = RefusedPods(c.Message)
			s.Cause.At = c.LastUpdateTime.Time
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded":
			if s.Cause == nil {
				s.Cause = &Cause{Code: release.CodeDeadlineExceeded, Message: "no progress within progressDeadlineSeconds", Grace: AtOnce, At: c.LastUpdateTime.Time}
			}
		}
	}
	switch {
	case d.Spec.Paused:
		s.Missing = "is paused"
		s.Cause = &Cause{Code: release.CodePaused, Message: "the Deployment is paused, so nothing rolls out", Grace: AtOnce, Hint: "remove spec.paused"}
	case d.Status.UpdatedReplicas < replicas(d.Spec.Replicas):
		s.Missing = fmt.Sprintf("%d of %d new pods created", d.Status.UpdatedReplicas, s.Desired)
	case d.Status.AvailableReplicas < d.Status.UpdatedReplicas, old > 0 && s.Serving < s.Desired:
		s.Missing = fmt.Sprintf("%d of %d new pods ready", s.Serving, s.Desired)
	case old > 0:
		s.Missing = fmt.Sprintf("%d old pods left", old)
	default:
		s.Ready, s.Cause = true, nil
	}
	return s
}

// replicas is the number of replicas that a specification asks for; the default is 1.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func statefulSet(d *appsv1.StatefulSet) Status {
	s := Status{HasPods: true, Desired: int(replicas(d.Spec.Replicas))}
	if d.Status.ObservedGeneration < d.Generation {
		s.Missing = "its controller has not observed the change yet"
		return s
	}
	updated := d.Status.UpdatedReplicas
	need := replicas(d.Spec.Replicas)
	if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		need = max(need-*u.Partition, 0)
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		need = 0
	}
	s.Serving = int(min(updated, d.Status.AvailableReplicas))
	switch {
	case d.Status.Replicas < replicas(d.Spec.Replicas):
		s.Missing = fmt.Sprintf("%d of %d pods created", d.Status.Replicas, s.Desired)
	case updated < need:
		s.Missing = fmt.Sprintf("%d of %d pods updated", updated, need)
	case d.Status.AvailableReplicas < replicas(d.Spec.Replicas):
		s.Missing = fmt.Sprintf("%d of %d pods ready", d.Status.AvailableReplicas, s.Desired)
	case d.Status.Replicas > replicas(d.Spec.Replicas):
		s.Missing = "surplus pods left"
	default:
		s.Ready = true
	}
	return s
}

func daemonSet(d *appsv1.DaemonSet) Status {
	s := Status{HasPods: true, Desired: int(d.Status.DesiredNumberScheduled)}
	if d.Status.ObservedGeneration < d.Generation {
		s.Missing = "its controller has not observed the change yet"
		return s
	}
	updated := d.Status.UpdatedNumberScheduled
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		updated = d.Status.DesiredNumberScheduled
	}
	s.Serving = int(min(updated, d.Status.NumberAvailable))
	switch {
	case updated < d.Status.DesiredNumberScheduled:
		s.Missing = fmt.Sprintf("%d of %d nodes updated", updated, s.Desired)
	case d.Status.NumberAvailable < d.Status.DesiredNumberScheduled:
		s.Missing = fmt.Sprintf("ready on %d of %d nodes", d.Status.NumberAvailable, s.Desired)
	default:
		s.Ready = true
	}
	return s
}

func replicaSet(d *appsv1.ReplicaSet) Status {
	s := Status{HasPods: true, Desired: int(replicas(d.Spec.Replicas)), Serving: int(d.Status.AvailableReplicas)}
	s.Ready = d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == replicas(d.Spec.Replicas) && d.Status.Replicas == replicas(d.Spec.Replicas)
	s.Missing = fmt.Sprintf("%d of %d pods ready", s.Serving, s.Desired)
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			s.Cause = RefusedPods(c.Message)
		}
	}
	return s
}

func job(j *batchv1.Job) Status {
	s := Status{Missing: fmt.Sprintf("%d pods active, %d succeeded, %d failed", j.Status.Active, j.Status.Succeeded, j.Status.Failed)}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return Status{Ready: true}
	}
	for _, c := range j.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete || c.Type == batchv1.JobSuccessCriteriaMet:
			return Status{Ready: true}
		case c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget:
			s.Cause = &Cause{Code: release.CodeJobFailed, Message: cmp.Or(c.Message, c.Reason), Grace: AtOnce}
		}
	}
	return s
}

func podPhase(p *corev1.Pod) Status {
	s := Status{HasPods: true, Desired: 1, Missing: string(p.Status.Phase)}
	if object.PodReady(p) || p.Status.Phase == corev1.PodSucceeded {
		s.Ready, s.Serving = true, 1
	}
	return s
}

func volumeClaim(c *corev1.PersistentVolumeClaim) Status {
	switch c.Status.Phase {
	case corev1.ClaimBound:
		return Status{Ready: true}
	case corev1.ClaimLost:
		return Status{Missing: "the claim has lost its volume", Cause: &Cause{Code: release.CodeClaimLost, Message: "the volume that the claim was bound to is gone", Grace: AtOnce}}
	default:
		return Status{Missing: "has no volume yet"}
	}
}

// anyKind reads the status by the conventions that kstatus knows.
func anyKind(u *unstructured.Unstructured) (Status, error) {
	r, err := status.Compute(u)
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w", object.IDOf(u), err)
	}
	s := Status{Ready: r.Status == status.CurrentStatus, Missing: cmp.Or(r.Message, r.Status.String())}
	if r.Status == status.FailedStatus {
		s.Cause = &Cause{Code: release.CodeObjectFailed, Message: cmp.Or(r.Message, "its status says that it failed"), Grace: AtOnce}
	}
	return s, nil
}
