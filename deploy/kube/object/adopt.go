package object

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// stays are the kinds that a first release takes over and that are not put back: what
// they hold cannot be made again, so that nothing of them is ever taken away.
var stays = map[string]bool{
	"Namespace": true, "CustomResourceDefinition": true, "PersistentVolumeClaim": true, "PersistentVolume": true,
}

// Adopt is a live object in the form in which it can be applied again: without its
// status and what the server and its controllers have set. It is nil, with the reason
// if there is one to tell, for an object that is not kept: a Secret, a Job that ran,
// and what holds data.
func Adopt(live *unstructured.Unstructured) (body map[string]any, why string) {
	id := IDOf(live)
	switch {
	case stays[id.Kind] || live.GetDeletionTimestamp() != nil:
		return nil, ""
	case id.Group == "" && id.Kind == "Secret":
		return nil, id.String() + ", whose values are not stored"
	case id.Kind == "Job":
		return nil, id.String() + ", which has run"
	}
	u := live.DeepCopy()
	delete(u.Object, "status")
	metadata := map[string]any{"name": u.GetName()}
	if ns := u.GetNamespace(); ns != "" {
		metadata["namespace"] = ns
	}
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	delete(labels, PartOfLabel)
	maps.DeleteFunc(annotations, func(name, _ string) bool { return ofServer(name) })
	u.Object["metadata"] = metadata
	if len(labels) > 0 {
		u.SetLabels(labels)
	}
	if len(annotations) > 0 {
		u.SetAnnotations(annotations)
	}
	if template := PodTemplate(u); template != nil {
		withoutTimes(u)
	}
	return u.Object, ""
}

// ofServer reports whether an annotation is written by kubectl or a controller for its
// own use.
func ofServer(annotation string) bool {
	return annotation == "kubectl.kubernetes.io/last-applied-configuration" || annotation == AppliedAnnotation ||
		annotation == RevisionAnnotation || strings.HasPrefix(annotation, "deprecated.daemonset.template.")
}

// withoutTimes drops the creation time of a template, which is empty and which the
// server writes into every object.
func withoutTimes(u *unstructured.Unstructured) {
	for _, at := range [][]string{{"spec", "template"}, {"spec", "jobTemplate"}, {"spec", "jobTemplate", "spec", "template"}} {
		unstructured.RemoveNestedField(u.Object, append(at, "metadata", "creationTimestamp")...)
	}
}
