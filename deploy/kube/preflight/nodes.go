package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/release"
)

// nodes checks that some node can run each pod, and that the image is built for the
// platform of every node that may get one.
func (r *run) nodes(ctx context.Context) error {
	if creates, err := r.anyCreatesPods(ctx); err != nil || !creates {
		return err
	}
	var list corev1.NodeList
	if err := r.c.ListInto(ctx, client.Nodes, "", metav1.ListOptions{}, &list); err != nil {
		return r.unchecked("capacity and platform of the nodes are", err)
	}
	return r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		f := release.Finding{Severity: release.Refuses, Role: role.Name, Object: w.ID.String()}
		suitable, why := suitableNodes(&w.pod.Spec, list.Items)
		if len(suitable) == 0 && w.replicas > 0 {
			f.Code, f.Message = release.CodeUnschedulable, "no node takes its pods: "+cmp.Or(why, "the cluster has no nodes")
			f.Hint = "change the pod's requests, nodeSelector or tolerations; if nodes are created on demand, allow Unschedulable"
			r.found(f)
			return nil
		}
		return r.platforms(ctx, role, w, suitable)
	})
}

// platforms checks that the role's image has the platform of the nodes.
func (r *run) platforms(ctx context.Context, role *role, w workload, nodes []*corev1.Node) error {
	ref := role.Reference()
	if r.o.Platforms == nil || !slices.Contains(imagesOf(&w.pod.Spec), ref) {
		return nil
	}
	ctx, cancel := askingRegistry(ctx)
	defer cancel()
	built, err := r.o.Platforms(ctx, ref)
	if err != nil || len(built) == 0 {
		return nil // the check of the pull reports what the registry said
	}
	if f, lacks := platformFinding(built, nodes); lacks {
		f.Role, f.Object = role.Name, w.ID.String()
		r.found(f)
	}
	return nil
}

// platformFinding is a finding if one of the nodes, any of which may get a pod, has a
// platform that the image was not built for.
func platformFinding(built []string, nodes []*corev1.Node) (f release.Finding, lacks bool) {
	var lacking []string
	matching := 0
	for _, n := range nodes {
		platform := n.Status.NodeInfo.OperatingSystem + "/" + n.Status.NodeInfo.Architecture
		switch {
		case platform == "/" || slices.ContainsFunc(built, func(h string) bool { return h == platform || strings.HasPrefix(h, platform+"/") }):
			matching++
		case !slices.Contains(lacking, platform):
			lacking = append(lacking, platform)
		}
	}
	if len(lacking) == 0 {
		return f, false
	}
	slices.Sort(lacking)
	f = release.Finding{Code: release.CodeNoMatchingPlatform, Severity: release.Refuses,
		Message: fmt.Sprintf("the image is for %s and the nodes are %s", strings.Join(built, ", "), strings.Join(lacking, ", ")),
		Hint:    "add the nodes' platform to images.<name>.platforms"}
	if matching > 0 {
		f.Message = fmt.Sprintf("the image is for %s, and some of the nodes that may get its pods are %s", strings.Join(built, ", "), strings.Join(lacking, ", "))
		f.Hint += ", or keep the pods away from such nodes by nodeSelector kubernetes.io/arch"
	}
	return f, true
}

// suitableNodes are the nodes that can run a pod, and why the others cannot: each
// reason once, with the number of nodes.
func suitableNodes(spec *corev1.PodSpec, nodes []corev1.Node) (suitable []*corev1.Node, why string) {
	counts := map[string]int{}
	for i := range nodes {
		if reason := unsuitable(spec, &nodes[i]); reason != "" {
			counts[reason]++
			continue
		}
		suitable = append(suitable, &nodes[i])
	}
	reasons := make([]string, 0, len(counts))
	for reason, n := range counts {
		reasons = append(reasons, fmt.Sprintf("%d of %d %s", n, len(nodes), reason))
	}
	sort.Strings(reasons)
	return suitable, strings.Join(reasons, "; ")
}

// unsuitable is why a pod cannot run on a node; empty if it can. Only what a node
// cannot change by itself counts: not what other pods request at the moment.
func unsuitable(spec *corev1.PodSpec, node *corev1.Node) string {
	if spec.NodeName != "" {
		if spec.NodeName != node.Name {
			return "the pod names another node"
		}
		return ""
	}
	for key, want := range spec.NodeSelector {
		if node.Labels[key] != want {
			return fmt.Sprintf("does not have the label %s=%s", key, want)
		}
	}
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		if !anyTerm(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, node) {
			return "does not match the required node affinity"
		}
	}
	if taint := untolerated(spec, node); taint != "" {
		return "has the taint " + taint + ", which the pod does not tolerate"
	}
	for name, want := range requestsOf(spec) {
		have, ok := node.Status.Allocatable[name]
		if !ok && !want.IsZero() || ok && want.Cmp(have) > 0 {
			return fmt.Sprintf("has %s %s in all, and the pod requests %s", have.String(), name, want.String())
		}
	}
	return ""
}

// untolerated is a taint that keeps the pod away for good; empty if there is
// none. Those by which a node says that it is not ready will go.
func untolerated(spec *corev1.PodSpec, node *corev1.Node) string {
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(taint.Key, "node.kubernetes.io/") && taint.Key != corev1.TaintNodeUnschedulable {
			continue
		}
		if !slices.ContainsFunc(spec.Tolerations, func(t corev1.Toleration) bool { return tolerates(t, taint) }) {
			return strings.TrimSuffix(taint.Key+"="+taint.Value, "=") + ":" + string(taint.Effect)
		}
	}
	return ""
}

func tolerates(t corev1.Toleration, taint corev1.Taint) bool {
	switch {
	case t.Effect != "" && t.Effect != taint.Effect:
		return false
	case t.Key != "" && t.Key != taint.Key:
		return false
	case t.Operator == corev1.TolerationOpExists:
		return true
	}
	return t.Key != "" && t.Value == taint.Value
}

func anyTerm(terms []corev1.NodeSelectorTerm, node *corev1.Node) bool {
	return slices.ContainsFunc(terms, func(term corev1.NodeSelectorTerm) bool {
		if len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0 {
			return false
		}
		for _, r := range term.MatchExpressions {
			value, has := node.Labels[r.Key]
			if !matches(r, value, has) {
				return false
			}
		}
		for _, r := range term.MatchFields {
			if r.Key != "metadata.name" || !matches(r, node.Name, true) {
				return false
			}
		}
		return true
	})
}

func matches(r corev1.NodeSelectorRequirement, value string, has bool) bool {
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return has && slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !has || !slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return has
	case corev1.NodeSelectorOpDoesNotExist:
		return !has
	}
	if len(r.Values) != 1 {
		return false
	}
	have, errHave := strconv.ParseInt(value, 10, 64)
	than, errThan := strconv.ParseInt(r.Values[0], 10, 64)
	if !has || errHave != nil || errThan != nil {
		return false
	}
	return r.Operator == corev1.NodeSelectorOpGt && have > than || r.Operator == corev1.NodeSelectorOpLt && have < than
}
