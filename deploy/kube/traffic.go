package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
)

// traffic is what Services send traffic to besides the pods that the release runs, as
// their EndpointSlices say.
type traffic struct {
	foreign []destination // pods that no workload of the release runs
	ending  []destination // pods that are being deleted, or gone already, and were not taken out yet
}

// destination is a pod that a Service sends traffic to.
type destination struct {
	service object.ID
	name    string
	pod     *corev1.Pod // nil: it is gone
}

func (d destination) String() string {
	return fmt.Sprintf("Pod %s/%s is being deleted and still answers for %s", d.service.Namespace, d.name, d.service)
}

// note says which Services send traffic to pods that no workload of the release runs:
// one that was taken out of its Deployment by a label, or that somebody made by hand.
func (t traffic) note() string {
	var out []string
	for _, d := range t.foreign {
		if object.PodReady(d.pod) {
			out = append(out, fmt.Sprintf("%s sends traffic to Pod %s, which no workload of the release runs", d.service, d.name))
		}
	}
	return strings.Join(out, "; ")
}

// info says which pods still answer while they end.
func (t traffic) info() string {
	var out []string
	for _, d := range t.ending {
		if d.pod != nil {
			out = append(out, d.String())
		}
	}
	return strings.Join(out, "; ")
}

// endpoint is what an EndpointSlice says of one pod that serves.
type endpoint struct {
	service object.ID
	name    string
	uid     types.UID
	ending  bool
}

// endpointsOf reads the pods that Services send traffic to: those that are ready, and
// those that are being deleted and still serve.
func endpointsOf(ctx context.Context, c *client.Client, services []releaseService) ([]endpoint, error) {
	byNamespace := map[string][]string{}
	for _, s := range services {
		byNamespace[s.id.Namespace] = append(byNamespace[s.id.Namespace], s.id.Name)
	}
	var out []endpoint
	for ns, names := range byNamespace {
		var list discoveryv1.EndpointSliceList
		if err := c.ListInto(ctx, client.Endpoints, ns, slicesOf(names), &list); err != nil {
			return nil, fmt.Errorf("read what Services send traffic to: %w", err)
		}
		for _, slice := range list.Items {
			service := object.ID{Kind: "Service", Namespace: ns, Name: slice.Labels[discoveryv1.LabelServiceName]}
			for _, e := range slice.Endpoints {
				if isTrue := func(b *bool) bool { return b != nil && *b }; e.TargetRef != nil && e.TargetRef.Kind == "Pod" && (isTrue(e.Conditions.Ready) || isTrue(e.Conditions.Serving)) {
					out = append(out, endpoint{service, e.TargetRef.Name, e.TargetRef.UID, isTrue(e.Conditions.Terminating)})
				}
			}
		}
	}
	return out, nil
}

// slicesOf selects the EndpointSlices of Services.
func slicesOf(services []string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + " in (" + strings.Join(services, ",") + ")"}
}

// trafficTo sorts endpoints by whose pods they are. known are pods that were read
// already: the others are read only if there are any.
func trafficTo(ctx context.Context, c *client.Client, endpoints []endpoint, running releasePods, services []releaseService, known []*corev1.Pod) (traffic, error) {
	serves := map[types.UID]bool{}
	for _, p := range known {
		serves[p.UID] = p.DeletionTimestamp == nil && running.has(p)
	}
	rest := slices.DeleteFunc(slices.Clone(endpoints), func(e endpoint) bool { return !e.ending && serves[e.uid] })
	if len(rest) == 0 {
		return traffic{}, nil
	}
	pods, err := selectedPods(ctx, c, services)
	if err != nil {
		return traffic{}, err
	}
	var out traffic
	seen := map[destination]bool{} // a pod with two addresses has two endpoints
	for _, e := range rest {
		d := destination{e.service, e.name, pods[e.uid]}
		switch {
		case seen[d]:
		case d.pod == nil || d.pod.DeletionTimestamp != nil:
			out.ending = append(out.ending, d)
		case !running.has(d.pod):
			out.foreign = append(out.foreign, d)
		}
		seen[d] = true
	}
	for _, list := range [][]destination{out.foreign, out.ending} {
		slices.SortFunc(list, func(a, b destination) int {
			return cmp.Or(strings.Compare(a.service.String(), b.service.String()), strings.Compare(a.name, b.name))
		})
	}
	return out, nil
}

// selectedPods reads the pods that Services may select, by their UID.
func selectedPods(ctx context.Context, c *client.Client, services []releaseService) (map[types.UID]*corev1.Pod, error) {
	common := map[string]map[string]string{}
	for _, s := range services {
		common[s.id.Namespace] = object.CommonLabels(common[s.id.Namespace], s.labels)
	}
	pods := map[types.UID]*corev1.Pod{}
	for ns, set := range common {
		var slim object.SlimPods
		list, err := c.ListPods(ctx, ns, set, func(p *corev1.Pod) {
			p.ManagedFields = nil
			slim.Slim(p)
		})
		if err != nil {
			return nil, fmt.Errorf("read what Services send traffic to: %w", err)
		}
		for _, p := range list {
			pods[p.UID] = p
		}
	}
	return pods, nil
}
