package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// foreignTraffic says which Services of a role send traffic to pods that no workload of
// the release runs: one that was taken out of its Deployment by a label, or that
// somebody made by hand. Empty: none does.
func foreignTraffic(ctx context.Context, c *client.Client, rel release.Release, role release.Role) (string, error) {
	running, err := podsOfRelease(rel)
	if err != nil {
		return "", err
	}
	services, err := servicesOf(role, running)
	if err != nil || len(services) == 0 {
		return "", err
	}
	common := map[string]map[string]string{}
	for _, s := range services {
		common[s.id.Namespace] = object.CommonLabels(common[s.id.Namespace], s.labels)
	}
	var out []string
	for ns, set := range common {
		var list corev1.PodList
		if err := c.ListInto(ctx, client.Pods, ns, metav1.ListOptions{LabelSelector: labels.Set(set).String()}, &list); err != nil {
			return "", fmt.Errorf("read what the Services of role %s send traffic to: %w", role.Name, err)
		}
		for i := range list.Items {
			p := &list.Items[i]
			if !object.PodReady(p) || p.DeletionTimestamp != nil || running.has(p) {
				continue
			}
			for _, s := range services {
				if s.selects(p) {
					out = append(out, fmt.Sprintf("%s sends traffic to Pod %s, which no workload of the release runs", s.id, p.Name))
				}
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; "), nil
}

// podSelector is an object with the labels by which pods are its own.
type podSelector struct {
	id     object.ID
	labels labels.Set
}

func (s podSelector) selects(p *corev1.Pod) bool {
	return p.Namespace == s.id.Namespace && labels.SelectorFromSet(s.labels).Matches(labels.Set(p.Labels))
}

// runningPods are what a release runs in Kubernetes.
type runningPods struct {
	own       []func(*corev1.Pod) bool // tell the pods of each workload from others
	templates []podSelector            // the labels of the pods that workloads make
	custom    bool                     // a kind that is not Kubernetes' own may run pods by its controller
}

func (r runningPods) has(p *corev1.Pod) bool {
	if r.custom && metav1.GetControllerOfNoCopy(p) != nil {
		return true // its controller may be of a custom kind
	}
	return slices.ContainsFunc(r.own, func(is func(*corev1.Pod) bool) bool { return is(p) })
}

// selectedBy reports whether a Service is for pods of the release. Others are for
// what somebody else runs, and on purpose.
func (r runningPods) selectedBy(service podSelector) bool {
	return slices.ContainsFunc(r.templates, func(t podSelector) bool {
		return t.id.Namespace == service.id.Namespace && labels.SelectorFromSet(service.labels).Matches(t.labels)
	})
}

// podsOfRelease are the pods of all roles of a release. Those of a Job, whose selector
// the server makes, are known by the labels of its template.
func podsOfRelease(rel release.Release) (runningPods, error) {
	var out runningPods
	for _, role := range rel.Roles {
		if role.Target != release.TargetKubernetes {
			continue
		}
		objects, err := object.Parse(role)
		if err != nil {
			return out, err
		}
		for _, o := range objects {
			made, _, _ := unstructured.NestedStringMap(object.PodTemplate(o.Body), "metadata", "labels")
			if o.ID.IsPod() {
				made = o.Body.GetLabels()
			}
			out.custom = out.custom || strings.Contains(o.ID.Group, ".") && !strings.HasSuffix(o.ID.Group, ".k8s.io")
			if len(made) > 0 {
				out.templates = append(out.templates, podSelector{o.ID, made})
			}
			switch {
			case o.Serves():
				out.own = append(out.own, object.PodsOf(o.Body))
			case len(made) > 0:
				out.own = append(out.own, podSelector{o.ID, made}.selects)
			}
		}
	}
	return out, nil
}

// servicesOf are the Services of a role that are for pods of its release.
func servicesOf(role release.Role, running runningPods) ([]podSelector, error) {
	objects, err := object.Parse(role)
	if err != nil {
		return nil, err
	}
	var out []podSelector
	for _, o := range objects {
		selector, _, _ := unstructured.NestedStringMap(o.Body.Object, "spec", "selector")
		s := podSelector{o.ID, selector}
		if o.ID.Group == "" && o.ID.Kind == "Service" && len(selector) > 0 && running.selectedBy(s) {
			out = append(out, s)
		}
	}
	return out, nil
}
