package object

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// readyWhenCreated are the kinds that are ready as soon as they exist.
var readyWhenCreated = map[string]bool{
	"Namespace": true, "ConfigMap": true, "Secret": true, "ServiceAccount": true, "Role": true, "RoleBinding": true, "ClusterRole": true,
	"ClusterRoleBinding": true, "NetworkPolicy": true, "CronJob": true, "LimitRange": true, "PriorityClass": true, "StorageClass": true,
	"RuntimeClass": true, "PodDisruptionBudget": true, "HorizontalPodAutoscaler": true, "Ingress": true, "IngressClass": true, "PodTemplate": true,
	"ValidatingWebhookConfiguration": true, "MutatingWebhookConfiguration": true, "ValidatingAdmissionPolicy": true,
	"ValidatingAdmissionPolicyBinding": true, "CustomResourceDefinition": true, "Endpoints": true, "EndpointSlice": true, "Lease": true, "ResourceQuota": true,
}

// BecomesReady reports whether the object can exist without being ready, so that a
// rollout has to wait for it.
func (o *Object) BecomesReady() bool {
	if o.Kind.Builtin && o.Kind.GroupKind.Kind == "Service" {
		kind, _, _ := unstructured.NestedString(o.Body.Object, "spec", "type")
		return kind == "LoadBalancer"
	}
	return !o.Kind.Builtin || !readyWhenCreated[o.Kind.GroupKind.Kind]
}

// Serves reports whether the object is a workload whose pods run for as long as it
// exists; a Job's and a CronJob's do not.
func (o *Object) Serves() bool {
	switch o.ID.Group + "/" + o.ID.Kind {
	case "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "/Pod":
		return true
	}
	return false
}

// PodTemplate is the template of a workload's pods; nil if it creates none.
func PodTemplate(u *unstructured.Unstructured) map[string]any {
	if u.GetKind() == "CronJob" {
		t, _, _ := unstructured.NestedMap(u.Object, "spec", "jobTemplate", "spec", "template")
		return t
	}
	t, _, _ := unstructured.NestedMap(u.Object, "spec", "template")
	if _, ok := t["spec"].(map[string]any); !ok {
		return nil
	}
	return t
}

// Containers are those in a list of a pod or of a workload's template: "containers", or
// "initContainers".
func Containers(u *unstructured.Unstructured, list string) []map[string]any {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if t := PodTemplate(u); t != nil {
		spec, _ = t["spec"].(map[string]any)
	}
	return mapsOf(spec[list])
}

// mapsOf are the maps in a list.
func mapsOf(list any) []map[string]any {
	var out []map[string]any
	items, _ := list.([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// IsPod reports whether an ID names a Pod.
func (id ID) IsPod() bool { return id.Group == "" && id.Kind == "Pod" }

// LeavesReplicasOpen reports whether a rendered workload has replicas and does not
// state them, so that whoever scales it sets them.
func LeavesReplicasOpen(u *unstructured.Unstructured) bool {
	_, stated, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas")
	switch u.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet":
		return u.GroupVersionKind().Group == "apps" && !stated
	}
	return false
}

// Replicas is how many pods a workload asks for.
func Replicas(u *unstructured.Unstructured) int {
	switch u.GetKind() {
	case "Pod":
		return 1
	case "DaemonSet":
		n, _, _ := unstructured.NestedInt64(u.Object, "status", "desiredNumberScheduled")
		return int(n)
	}
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas")
	switch n := v.(type) { // a rendered object holds JSON's float64, a live one int64
	case float64:
		return int(n)
	case int64:
		return int(n)
	}
	return 1
}

// UpdateByHand says which pods the update strategy of a workload leaves as they are until
// somebody deletes them; empty if none.
func UpdateByHand(u *unstructured.Unstructured) string {
	if kind, _, _ := unstructured.NestedString(u.Object, "spec", "updateStrategy", "type"); kind == "OnDelete" {
		return "updateStrategy OnDelete leaves every pod as it is until it is deleted"
	}
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "updateStrategy", "rollingUpdate", "partition")
	partition := int64(0)
	switch n := v.(type) { // a rendered object holds JSON's float64, a live one int64
	case float64:
		partition = int64(n)
	case int64:
		partition = n
	}
	if partition > 0 {
		return fmt.Sprintf("partition: %d leaves every pod of a lower number as it is", partition)
	}
	return ""
}

// PodsOf tells a workload's pods from others.
func PodsOf(u *unstructured.Unstructured) func(*corev1.Pod) bool {
	namespace, name := u.GetNamespace(), u.GetName()
	if u.GetKind() == "Pod" {
		return func(p *corev1.Pod) bool { return p.Namespace == namespace && p.Name == name }
	}
	raw, _, _ := unstructured.NestedMap(u.Object, "spec", "selector")
	selector, err := selectorOf(raw)
	if err != nil || selector.Empty() {
		return func(*corev1.Pod) bool { return false }
	}
	return func(p *corev1.Pod) bool { return p.Namespace == namespace && selector.Matches(labels.Set(p.Labels)) }
}

func selectorOf(raw map[string]any) (labels.Selector, error) {
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s); err != nil {
		return nil, err
	}
	return metav1.LabelSelectorAsSelector(&s)
}

// PodReady reports whether a pod's Ready condition is true.
func PodReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// FailedJob reports whether an object is a Job that will not succeed any more. nil
// is not.
func FailedJob(u *unstructured.Unstructured) bool {
	if u == nil || u.GetKind() != "Job" || u.GroupVersionKind().Group != batchv1.GroupName {
		return false
	}
	return Condition(u, string(batchv1.JobFailed)) == string(corev1.ConditionTrue)
}

// Condition is the status of a condition; empty if the object has none of that type.
func Condition(u *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		if m, ok := item.(map[string]any); ok && m["type"] == kind {
			status, _ := m["status"].(string)
			return status
		}
	}
	return ""
}

// CommonLabels are the labels that both sets have with the same value; a nil first
// set has every label.
func CommonLabels(a, b map[string]string) map[string]string {
	common := map[string]string{}
	for k, v := range b {
		if a == nil || a[k] == v {
			common[k] = v
		}
	}
	return common
}

// SecretsOf names the Secrets whose content a pod can read.
func SecretsOf(spec *corev1.PodSpec) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil {
					names[from.SecretRef.Name] = true
				}
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					names[e.ValueFrom.SecretKeyRef.Name] = true
				}
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			names[v.Secret.SecretName] = true
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				names[source.Secret.Name] = true
			}
		}
	}
	return names
}
