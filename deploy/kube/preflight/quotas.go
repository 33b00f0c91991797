package preflight

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// quotas checks that every ResourceQuota has capacity for the surge of a rollout.
func (r *run) quotas(ctx context.Context) error {
	if creates, err := r.anyCreatesPods(ctx); err != nil || !creates {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, ns := range r.namespaces() {
		group.Go(func() error {
			var list corev1.ResourceQuotaList
			if err := r.c.ListInto(gctx, client.Quotas, ns, metav1.ListOptions{}, &list); err != nil {
				return r.unchecked("quotas of namespace "+ns+" are", err)
			}
			if len(list.Items) == 0 {
				return nil
			}
			return r.surges(gctx, ns, list.Items)
		})
	}
	return group.Wait()
}

func (r *run) surges(ctx context.Context, ns string, quotas []corev1.ResourceQuota) error {
	return r.eachWorkload(ctx, func(ctx context.Context, role *role, w workload) error {
		if w.ID.Namespace != ns {
			return nil
		}
		live, known, err := r.live(ctx, role, w.Object)
		if err != nil || !known {
			return err
		}
		pods := surge(w, live)
		for _, q := range quotas {
			if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
				continue
			}
			if what := exceeds(q, &w.pod.Spec, pods); what != "" {
				r.found(release.Finding{Code: release.CodeQuotaExceeded, Severity: release.Refuses, Role: role.Name, Object: w.ID.String(),
					Message: fmt.Sprintf("the rollout needs %d more pods at once, and quota %s/%s %s", pods, ns, q.Name, what),
					Hint:    "raise the quota, or let the rollout take pods away first (strategy.rollingUpdate.maxUnavailable: 1, maxSurge: 0)"})
			}
		}
		return nil
	})
}

// surge is how many pods a rollout needs besides those that exist; 0 if it needs none.
func surge(w workload, live *unstructured.Unstructured) int {
	if w.ID.Kind == "Job" || w.ID.Kind == "CronJob" || w.ID.Kind == "DaemonSet" {
		return 0
	}
	if live == nil {
		return w.replicas
	}
	more := max(w.replicas-object.Replicas(live), 0)
	if w.ID.Kind != "Deployment" || sameTemplate(w, live) {
		return more
	}
	kind, _, _ := unstructured.NestedString(w.Body.Object, "spec", "strategy", "type")
	if kind == "Recreate" || rollingUpdate(w, "maxUnavailable", false) > 0 {
		return more
	}
	return more + min(1, rollingUpdate(w, "maxSurge", true))
}

// rollingUpdate is one of a rolling update's two numbers, of which the default is a quarter.
func rollingUpdate(w workload, field string, up bool) int {
	v, ok, _ := unstructured.NestedFieldNoCopy(w.Body.Object, "spec", "strategy", "rollingUpdate", field)
	n := intstr.FromString("25%")
	if ok {
		n = intstr.Parse(fmt.Sprint(v))
	}
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&n, w.replicas, up)
	if err != nil {
		return 0
	}
	return scaled
}

// exceeds is which resource of a quota some more pods would exceed; empty if none.
func exceeds(q corev1.ResourceQuota, spec *corev1.PodSpec, pods int) string {
	if pods == 0 {
		return ""
	}
	limits := corev1.ResourceList{}
	for _, c := range spec.Containers {
		sum(limits, c.Resources.Limits)
	}
	need := corev1.ResourceList{"pods": resource.MustParse("1"), "count/pods": resource.MustParse("1")}
	for name, v := range requestsOf(spec) {
		need[name], need["requests."+name] = v, v
	}
	for name, v := range limits {
		need["limits."+name] = v
	}
	for name, hard := range q.Status.Hard {
		one, ok := need[name]
		if !ok {
			continue
		}
		total := one.DeepCopy()
		total.Mul(int64(pods))
		if left := remaining(hard, q.Status.Used[name]); total.Cmp(left) > 0 {
			used := q.Status.Used[name]
			return fmt.Sprintf("has %s of %s %s left and they need %s", left.String(), hard.String(), name, total.String()) + usedNote(used)
		}
	}
	return ""
}

func usedNote(used resource.Quantity) string {
	if used.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (%s in use)", used.String())
}
