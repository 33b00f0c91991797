package kube

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/joelhooks/shipit/release"
)

// state is what an object's own status says.
type state struct {
	ready          bool
	pods           bool // it counts instances
	serving, asked int  // instances
	missing        string
	fault          *cause // its controller has given up, or is refused
}

// passive are the kinds that are ready as soon as they are there.
var passive = map[string]bool{
	"Namespace": true, "ConfigMap": true, "Secret": true, "ServiceAccount": true, "Role": true, "RoleBinding": true, "ClusterRole": true,
	"ClusterRoleBinding": true, "NetworkPolicy": true, "CronJob": true, "LimitRange": true, "PriorityClass": true, "StorageClass": true,
	"RuntimeClass": true, "PodDisruptionBudget": true, "HorizontalPodAutoscaler": true, "Ingress": true, "IngressClass": true, "PodTemplate": true,
	"ValidatingWebhookConfiguration": true, "MutatingWebhookConfiguration": true, "ValidatingAdmissionPolicy": true,
	"ValidatingAdmissionPolicyBinding": true, "CustomResourceDefinition": true, "Endpoints": true, "EndpointSlice": true, "Lease": true, "ResourceQuota": true,
}

// waits reports whether an object can be there and not yet ready.
func waits(o *object) bool {
	if o.kind.builtin && o.kind.gk.Kind == "Service" {
		kind, _, _ := unstructured.NestedString(o.body.Object, "spec", "type")
		return kind == "LoadBalancer"
	}
	return !o.kind.builtin || !passive[o.kind.gk.Kind]
}

// judge reads the state off a live object. It counts only what its controller
// says of the present generation.
func judge(u *unstructured.Unstructured) (state, error) {
	if u.GetDeletionTimestamp() != nil {
		return state{missing: "is being deleted"}, nil
	}
	switch gvk := u.GroupVersionKind(); gvk.Group + "/" + gvk.Kind {
	case "apps/Deployment":
		return typed(u, ofDeployment)
	case "apps/StatefulSet":
		return typed(u, ofStatefulSet)
	case "apps/DaemonSet":
		return typed(u, ofDaemonSet)
	case "apps/ReplicaSet":
		return typed(u, ofReplicaSet)
	case "batch/Job":
		return typed(u, ofJob)
	case "/Pod":
		return typed(u, ofPod)
	case "/PersistentVolumeClaim":
		return typed(u, ofClaim)
	}
	return ofAny(u)
}

func typed[T any](u *unstructured.Unstructured, read func(*T) state) (state, error) {
	var object T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &object); err != nil {
		return state{}, fmt.Errorf("%s: %w", idOf(u), err)
	}
	return read(&object), nil
}

func ofDeployment(d *appsv1.Deployment) state {
	// The status counts old and new available pods in one; the old are taken to be available.
	old := d.Status.Replicas - d.Status.UpdatedReplicas
	s := state{pods: true, asked: int(or1(d.Spec.Replicas)), serving: int(max(0, min(d.Status.UpdatedReplicas, d.Status.AvailableReplicas-old)))}
	if d.Status.ObservedGeneration < d.Generation {
		s.serving, s.missing = 0, "its controller has not seen the change yet"
		return s
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			s.fault = ofRefusedPods(c.Message)
			s.fault.at = c.LastUpdateTime.Time
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded":
			if s.fault == nil {
				s.fault = &cause{code: release.CodeDeadlineExceeded, message: "no progress within progressDeadlineSeconds", patience: atOnce, at: c.LastUpdateTime.Time}
			}
		}
	}
	switch {
	case d.Spec.Paused:
		s.missing = "is paused"
		s.fault = &cause{code: release.CodePaused, message: "the Deployment is paused, so nothing rolls out", patience: atOnce, hint: "remove spec.paused"}
	case d.Status.UpdatedReplicas < or1(d.Spec.Replicas):
		s.missing = fmt.Sprintf("%d of %d new pods made", d.Status.UpdatedReplicas, s.asked)
	case d.Status.AvailableReplicas < d.Status.UpdatedReplicas, old > 0 && s.serving < s.asked:
		s.missing = fmt.Sprintf("%d of %d new pods ready", s.serving, s.asked)
	case old > 0:
		s.missing = fmt.Sprintf("%d old pods left", old)
	default:
		s.ready, s.fault = true, nil
	}
	return s
}

func or1(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func ofStatefulSet(d *appsv1.StatefulSet) state {
	s := state{pods: true, asked: int(or1(d.Spec.Replicas))}
	if d.Status.ObservedGeneration < d.Generation {
		s.missing = "its controller has not seen the change yet"
		return s
	}
	updated := d.Status.UpdatedReplicas
	need := or1(d.Spec.Replicas)
	if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		need = max(need-*u.Partition, 0)
	}
	switch {
	case d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		need = 0
	case d.Status.UpdateRevision == d.Status.CurrentRevision:
		updated = d.Status.Replicas
	}
	s.serving = int(min(updated, d.Status.AvailableReplicas))
	switch {
	case d.Status.Replicas < or1(d.Spec.Replicas):
		s.missing = fmt.Sprintf("%d of %d pods made", d.Status.Replicas, s.asked)
	case updated < need:
		s.missing = fmt.Sprintf("%d of %d pods updated", updated, need)
	case d.Status.AvailableReplicas < or1(d.Spec.Replicas):
		s.missing = fmt.Sprintf("%d of %d pods ready", d.Status.AvailableReplicas, s.asked)
	case d.Status.Replicas > or1(d.Spec.Replicas):
		s.missing = "surplus pods left"
	default:
		s.ready = true
	}
	return s
}

func ofDaemonSet(d *appsv1.DaemonSet) state {
	s := state{pods: true, asked: int(d.Status.DesiredNumberScheduled)}
	if d.Status.ObservedGeneration < d.Generation {
		s.missing = "its controller has not seen the change yet"
		return s
	}
	updated := d.Status.UpdatedNumberScheduled
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		updated = d.Status.DesiredNumberScheduled
	}
	s.serving = int(min(updated, d.Status.NumberAvailable))
	switch {
	case updated < d.Status.DesiredNumberScheduled:
		s.missing = fmt.Sprintf("%d of %d nodes updated", updated, s.asked)
	case d.Status.NumberAvailable < d.Status.DesiredNumberScheduled:
		s.missing = fmt.Sprintf("ready on %d of %d nodes", d.Status.NumberAvailable, s.asked)
	default:
		s.ready = true
	}
	return s
}

func ofReplicaSet(d *appsv1.ReplicaSet) state {
	s := state{pods: true, asked: int(or1(d.Spec.Replicas)), serving: int(d.Status.AvailableReplicas)}
	s.ready = d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == or1(d.Spec.Replicas) && d.Status.Replicas == or1(d.Spec.Replicas)
	s.missing = fmt.Sprintf("%d of %d pods ready", s.serving, s.asked)
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			s.fault = ofRefusedPods(c.Message)
		}
	}
	return s
}

func ofJob(j *batchv1.Job) state {
	s := state{missing: fmt.Sprintf("%d pods active, %d succeeded, %d failed", j.Status.Active, j.Status.Succeeded, j.Status.Failed)}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return state{ready: true}
	}
	for _, c := range j.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete || c.Type == batchv1.JobSuccessCriteriaMet:
			return state{ready: true}
		case c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget:
			s.fault = &cause{code: release.CodeJobFailed, message: firstOf(c.Message, c.Reason), patience: atOnce}
		}
	}
	return s
}

// failedJob reports whether an object is a Job that will not succeed any more.
func failedJob(u *unstructured.Unstructured) bool {
	if u == nil || u.GetKind() != "Job" || u.GroupVersionKind().Group != "batch" {
		return false
	}
	status, _ := condition(u, string(batchv1.JobFailed))
	return status == string(corev1.ConditionTrue)
}

func ofPod(p *corev1.Pod) state {
	s := state{pods: true, asked: 1, missing: string(p.Status.Phase)}
	if podReady(p) || p.Status.Phase == corev1.PodSucceeded {
		s.ready, s.serving = true, 1
	}
	return s
}

func ofClaim(c *corev1.PersistentVolumeClaim) state {
	switch c.Status.Phase {
	case corev1.ClaimBound:
		return state{ready: true}
	case corev1.ClaimLost:
		return state{missing: "its volume is lost", fault: &cause{code: release.CodeClaimLost, message: "the volume that the claim was bound to is gone", patience: atOnce}}
	default:
		return state{missing: "has no volume yet"}
	}
}

// ofAny trusts the conventions that kstatus knows.
func ofAny(u *unstructured.Unstructured) (state, error) {
	r, err := status.Compute(u)
	if err != nil {
		return state{}, fmt.Errorf("%s: %w", idOf(u), err)
	}
	s := state{ready: r.Status == status.CurrentStatus, missing: firstOf(r.Message, r.Status.String())}
	if r.Status == status.FailedStatus {
		s.fault = &cause{code: release.CodeObjectFailed, message: firstOf(r.Message, "its status says that it failed"), patience: atOnce}
	}
	return s, nil
}

// ofRefusedPods is why a controller could not make pods.
func ofRefusedPods(message string) *cause {
	c := &cause{code: admissionCode(message), message: oneLine(message), patience: atOnce}
	switch c.code {
	case release.CodeWebhookUnreachable:
		c.patience, c.hint = onlyByLimit, "an admission webhook does not answer; the controller goes on trying"
	case release.CodeQuotaExceeded:
		c.patience, c.hint = lasting(quotaSpan), "raise the ResourceQuota, or let the rollout take pods away first (maxSurge: 0)"
	case release.CodePodSecurity:
		c.hint = "the namespace's Pod Security level does not take this pod: see its securityContext"
	case release.CodeServiceAccountMissing:
		c.hint = "create the ServiceAccount, or put it among the role's manifests"
	}
	return c
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
