package compare

import (
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// controllers are field managers that change objects by themselves, besides those
// whose name says so.
var controllers = []string{"kubelet", "k3s", "k0s", "rke2", "kubelite", "hyperkube", "manager", "controller", "operator", "glbc", "keda", "reloader",
	"rancher", "fleetagent", "kyverno", "karpenter", "cilium", "velero", "keel", "descheduler", "istiod", "pilot-discovery"}

// controllerWords are parts of a controller's name.
var controllerWords = []string{"-controller", "-operator", "-autoscaler", "-injector", "-webhook", "-scheduler", "-provisioner", "-agent", "-manager", "-recommender", "-updater"}

// IsHand reports whether a field manager is one that a person runs: kubectl, helm,
// Terraform, or any program whose name does not say that it is a controller. What a
// hand changed is put back; what a controller changed is left.
func IsHand(manager string) bool {
	name := strings.ToLower(manager)
	return manager != object.Manager && manager != object.HandoverManager && !strings.HasPrefix(name, "kube-") && !slices.Contains(controllers, name) &&
		!slices.ContainsFunc(controllerWords, func(word string) bool { return strings.Contains(name, word) })
}

// isHand reports whether the fields of a manager are taken over.
func (p Policy) isHand(m manager) bool {
	switch p.Managers[m.name] {
	case Cede:
		return false
	case Force:
		return true
	}
	return IsHand(m.name) && (m.subresource == "" || m.subresource == "scale" && !IsAutoscaler(m.name, m.subresource))
}

// keptAnnotations begin the names of annotations that tools write for themselves.
var keptAnnotations = []string{"kubectl.kubernetes.io/restartedAt", "deployment.kubernetes.io/", "deprecated.", "pv.kubernetes.io/", "volume.kubernetes.io/"}

// isTool reports whether a manager is one of the tools that only people run.
func isTool(manager string) bool {
	return strings.HasPrefix(manager, "kubectl") || strings.HasPrefix(manager, "helm")
}

// workloadGroups are the groups whose objects run pods: their own labels and
// annotations say nothing to the pods.
var workloadGroups = map[string]bool{"apps": true, "batch": true}

// counts reports whether a field that a hand owns belongs to what runs. Of an object
// that a release has not had before everything does. Of others, people keep their own
// notes in the labels and annotations of workloads, and unknown programs in all.
func counts(live object.ID, m manager, isNew bool, path fieldpath.Path) bool {
	for _, e := range path {
		if e.FieldName != nil && slices.ContainsFunc(keptAnnotations, func(p string) bool { return strings.HasPrefix(*e.FieldName, p) }) {
			return false
		}
	}
	switch field(path, 0) {
	case "", "status", "apiVersion", "kind":
		return false
	case "metadata":
		kind := field(path, 1)
		if kind != "labels" && kind != "annotations" {
			return false
		}
		if strings.HasPrefix(field(path, 2), "kubectl.kubernetes.io/") || field(path, 2) == "kubernetes.io/change-cause" {
			return isNew
		}
		return isNew || isTool(m.name) && !workloadGroups[live.Group] && !live.IsPod()
	case "spec":
		return live.Kind != "PersistentVolumeClaim" && live.Kind != "PersistentVolume"
	}
	return true
}

// field is the name of the field at one place of a path; "" if there is none.
func field(path fieldpath.Path, at int) string {
	if at >= len(path) || path[at].FieldName == nil {
		return ""
	}
	return *path[at].FieldName
}
