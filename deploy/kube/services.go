package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// podSelector is an object with the labels by which pods are its own.
type podSelector struct {
	id     object.ID
	labels labels.Set
}

func (s podSelector) selects(p *corev1.Pod) bool {
	return p.Namespace == s.id.Namespace && labels.SelectorFromSet(s.labels).Matches(labels.Set(p.Labels))
}

// releaseService is a Service of a release.
type releaseService struct {
	podSelector
	role     string          // that brings it
	selected map[string]bool // the roles whose pods it selects
}

// releasePods are what a release runs in Kubernetes.
type releasePods struct {
	own       []func(*corev1.Pod) bool // tell the pods of each workload from others
	templates []podTemplate            // the labels of the pods that workloads make
	services  []releaseService         // that are for pods of the release: others are for what somebody else runs, and on purpose
	custom    bool                     // a kind that is not Kubernetes' own may run pods by its controller
}

// podTemplate is a workload with the labels of the pods that it makes.
type podTemplate struct {
	podSelector
	role string
}

func (r releasePods) has(p *corev1.Pod) bool {
	if r.custom && metav1.GetControllerOfNoCopy(p) != nil {
		return true // its controller may be of a custom kind
	}
	return slices.ContainsFunc(r.own, func(is func(*corev1.Pod) bool) bool { return is(p) })
}

// podsOfRelease are the pods of all roles of a release, and the Services that are for
// them. known are the objects of the role of that name, which were read already.
func podsOfRelease(rel release.Release, name string, known []*object.Object) (releasePods, error) {
	var out releasePods
	var services []releaseService
	for _, role := range rel.Roles {
		if role.Target != release.TargetKubernetes {
			continue
		}
		objects := known
		if role.Name != name || len(known) != len(role.Objects) {
			var err error
			if objects, err = object.Parse(role); err != nil {
				return out, err
			}
		}
		for _, o := range objects {
			out.add(role.Name, o)
			selector, _, _ := unstructured.NestedStringMap(o.Body.Object, "spec", "selector")
			if o.ID.Group == "" && o.ID.Kind == "Service" && len(selector) > 0 {
				services = append(services, releaseService{podSelector{o.ID, selector}, role.Name, map[string]bool{}})
			}
		}
	}
	for _, s := range services {
		for _, t := range out.templates {
			if t.id.Namespace == s.id.Namespace && labels.SelectorFromSet(s.labels).Matches(t.labels) {
				s.selected[t.role] = true
			}
		}
		if len(s.selected) > 0 {
			out.services = append(out.services, s)
		}
	}
	return out, nil
}

// add adds the pods that an object makes. Those of a Job, whose selector the server
// makes, are known by the labels of its template.
func (r *releasePods) add(role string, o *object.Object) {
	made, _, _ := unstructured.NestedStringMap(object.PodTemplate(o.Body), "metadata", "labels")
	if o.ID.IsPod() {
		made = o.Body.GetLabels()
	}
	r.custom = r.custom || strings.Contains(o.ID.Group, ".") && !strings.HasSuffix(o.ID.Group, ".k8s.io")
	if len(made) > 0 {
		r.templates = append(r.templates, podTemplate{podSelector{o.ID, made}, role})
	}
	switch {
	case o.Serves():
		r.own = append(r.own, object.PodsOf(o.Body))
	case len(made) > 0:
		r.own = append(r.own, podSelector{o.ID, made}.selects)
	}
}
