package kube

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// misfit is why a pod cannot run on a node; empty if it can. Only what a node
// cannot change by itself counts: not what other pods take at the moment.
func misfit(spec *corev1.PodSpec, node *corev1.Node) string {
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

// requestsOf is what a pod takes of a node: the sum of its containers, or the
// largest init container if that is more, and its overhead.
func requestsOf(spec *corev1.PodSpec) corev1.ResourceList {
	total := corev1.ResourceList{}
	for _, c := range spec.Containers {
		sum(total, askOf(c))
	}
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum(total, askOf(c))
			continue
		}
		for name, q := range askOf(c) {
			if have := total[name]; q.Cmp(have) > 0 {
				total[name] = q
			}
		}
	}
	sum(total, spec.Overhead)
	return total
}

// askOf is what a container requests; a limit without a request is one.
func askOf(c corev1.Container) corev1.ResourceList {
	ask := corev1.ResourceList{}
	for name, q := range c.Resources.Limits {
		ask[name] = q
	}
	for name, q := range c.Resources.Requests {
		ask[name] = q
	}
	return ask
}

func sum(into, more corev1.ResourceList) {
	for name, q := range more {
		have := into[name]
		have.Add(q)
		into[name] = have
	}
}

// unfit says why none of the nodes takes a pod, each reason once with how many
// nodes it holds for.
func unfit(spec *corev1.PodSpec, nodes []corev1.Node) (fitting []*corev1.Node, why string) {
	counts := map[string]int{}
	for i := range nodes {
		if reason := misfit(spec, &nodes[i]); reason != "" {
			counts[reason]++
			continue
		}
		fitting = append(fitting, &nodes[i])
	}
	reasons := make([]string, 0, len(counts))
	for reason, n := range counts {
		reasons = append(reasons, fmt.Sprintf("%d of %d %s", n, len(nodes), reason))
	}
	sort.Strings(reasons)
	return fitting, strings.Join(reasons, "; ")
}

// room is what is left of a quantity.
func room(hard, used resource.Quantity) resource.Quantity {
	left := hard.DeepCopy()
	left.Sub(used)
	return left
}
