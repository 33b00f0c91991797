package preflight

import (
	"context"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// budgets warns of a PodDisruptionBudget that never allows a disruption: it blocks
// every drain of a node.
func (r *run) budgets(ctx context.Context) error {
	for _, role := range r.roles {
		for _, o := range role.objects {
			if o.ID.Kind != "PodDisruptionBudget" {
				continue
			}
			got, err := object.As[policyv1.PodDisruptionBudget](o.Body)
			if err != nil {
				return err
			}
			for _, w := range role.workloads {
				if blocks(got, w) {
					r.found(release.Finding{Code: release.CodeBudgetBlocks, Severity: release.Warns, Role: role.Name, Object: o.ID.String(),
						Message: fmt.Sprintf("it never lets one of the %d pods of %s go, so no node they are on can be drained", w.replicas, w.ID),
						Hint:    "set maxUnavailable: 1, or run more replicas"})
				}
			}
		}
	}
	return nil
}

// blocks reports whether a budget never lets a pod of the workload go.
func blocks(b *policyv1.PodDisruptionBudget, w workload) bool {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(w.pod.Labels)) || w.replicas == 0 {
		return false
	}
	if m := b.Spec.MaxUnavailable; m != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(m, w.replicas, true)
		return err == nil && n == 0
	}
	if m := b.Spec.MinAvailable; m != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(m, w.replicas, true)
		return err == nil && n >= w.replicas
	}
	return false
}
