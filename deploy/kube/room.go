package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/joelhooks/shipit/release"
)

// unread reports that something is not checked because the caller may not look
// at it; other errors are returned.
func (s *survey) unread(what string, err error) error {
	var forbidden *ForbiddenError
	if !errors.As(s.c.explain(err), &forbidden) {
		return s.c.explain(err)
	}
	s.find(release.Finding{Code: release.CodeUnchecked, Severity: release.Warns, Message: what + " not checked: " + forbidden.Error(), Hint: forbidden.Hint()})
	return nil
}

// nodes checks that some node can run each pod, and the image its architecture.
func (s *survey) nodes(ctx context.Context) error {
	if fresh, err := s.makesAny(ctx); err != nil || !fresh {
		return err
	}
	var list corev1.NodeList
	if err := s.c.typed.list(ctx, nodesKind, "", metav1.ListOptions{}, &list); err != nil {
		return s.unread("room and platform of the nodes are", err)
	}
	return s.eachPod(ctx, func(ctx context.Context, p part, t template) error {
		f := release.Finding{Severity: release.Refuses, Role: p.role.Name, Object: t.object.id.String()}
		fitting, why := unfit(&t.spec, list.Items)
		if len(fitting) == 0 && t.replicas > 0 {
			f.Code, f.Message = release.CodeUnschedulable, "no node takes its pods: "+firstOf(why, "the cluster has no nodes")
			f.Hint = "change the pod's requests, nodeSelector or tolerations; if nodes are made on demand, allow Unschedulable"
			s.find(f)
			return nil
		}
		return s.platforms(ctx, p, t, fitting)
	})
}

// platforms checks that the role's image has the platform of the nodes.
func (s *survey) platforms(ctx context.Context, p part, t template, nodes []*corev1.Node) error {
	ref := p.role.Reference()
	if s.o.Platforms == nil || !slices.Contains(images(&t.spec), ref) {
		return nil
	}
	have, err := s.o.Platforms(ctx, ref)
	if err != nil || len(have) == 0 {
		return nil // what the registry said is told by the pull
	}
	without := map[string]bool{}
	fits := 0
	for _, n := range nodes {
		platform := n.Status.NodeInfo.OperatingSystem + "/" + n.Status.NodeInfo.Architecture
		if slices.ContainsFunc(have, func(h string) bool { return h == platform || strings.HasPrefix(h, platform+"/") }) || platform == "/" {
			fits++
			continue
		}
		without[platform] = true
	}
	if len(without) == 0 {
		return nil
	}
	names := make([]string, 0, len(without))
	for name := range without {
		names = append(names, name)
	}
	slices.Sort(names)
	f := release.Finding{Code: release.CodeNoMatchingPlatform, Severity: release.Refuses, Role: p.role.Name, Object: t.object.id.String(),
		Message: fmt.Sprintf("the image is for %s and the nodes are %s", strings.Join(have, ", "), strings.Join(names, ", ")),
		Hint:    "add the nodes' platform to images.<name>.platforms"}
	if fits > 0 {
		f.Severity, f.Message = release.Warns, f.Message+" in part: its pods start only on the others"
	}
	s.find(f)
	return nil
}

// quotas checks that the surge of a rollout has room in every ResourceQuota.
func (s *survey) quotas(ctx context.Context) error {
	if fresh, err := s.makesAny(ctx); err != nil || !fresh {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, ns := range s.namespaces() {
		group.Go(func() error {
			var list corev1.ResourceQuotaList
			if err := s.c.typed.list(gctx, quotasKind, ns, metav1.ListOptions{}, &list); err != nil {
				return s.unread("quotas of namespace "+ns+" are", err)
			}
			if len(list.Items) == 0 {
				return nil
			}
			return s.surges(gctx, ns, list.Items)
		})
	}
	return group.Wait()
}

func (s *survey) surges(ctx context.Context, ns string, quotas []corev1.ResourceQuota) error {
	return s.eachPod(ctx, func(ctx context.Context, p part, t template) error {
		if t.object.id.Namespace != ns {
			return nil
		}
		live, known, err := s.live(ctx, p, t.object)
		if err != nil || !known {
			return err
		}
		pods := surge(t, live)
		for _, q := range quotas {
			if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
				continue
			}
			if what := over(q, &t.spec, pods); what != "" {
				s.find(release.Finding{Code: release.CodeQuotaExceeded, Severity: release.Refuses, Role: p.role.Name, Object: t.object.id.String(),
					Message: fmt.Sprintf("the rollout needs %d more pods at once, and quota %s/%s %s", pods, ns, q.Name, what),
					Hint:    "raise the quota, or let the rollout take pods away first (strategy.rollingUpdate.maxUnavailable: 1, maxSurge: 0)"})
			}
		}
		return nil
	})
}

// surge is how many pods a rollout must be able to have besides those that are
// there: 0 if it can go on without any.
func surge(t template, live *unstructured.Unstructured) int {
	if t.object.id.Kind == "Job" || t.object.id.Kind == "CronJob" || t.object.id.Kind == "DaemonSet" {
		return 0
	}
	if live == nil {
		return t.replicas
	}
	more := max(t.replicas-askedFor(live), 0)
	if t.object.id.Kind != "Deployment" || covers(podTemplate(t.object.body), podTemplate(live)) {
		return more
	}
	kind, _, _ := unstructured.NestedString(t.object.body.Object, "spec", "strategy", "type")
	if kind == "Recreate" || rollingNumber(t, "maxUnavailable", false) > 0 {
		return more
	}
	return more + min(1, rollingNumber(t, "maxSurge", true))
}

// rollingNumber is one of a rolling update's two numbers, of which the default is a quarter.
func rollingNumber(t template, field string, up bool) int {
	v, ok, _ := unstructured.NestedFieldNoCopy(t.object.body.Object, "spec", "strategy", "rollingUpdate", field)
	n := intstr.FromString("25%")
	if ok {
		n = intstr.Parse(fmt.Sprint(v))
	}
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&n, t.replicas, up)
	if err != nil {
		return 0
	}
	return scaled
}

// over is which part of a quota some more pods would exceed; empty if none.
func over(q corev1.ResourceQuota, spec *corev1.PodSpec, pods int) string {
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
		if left := room(hard, q.Status.Used[name]); total.Cmp(left) > 0 {
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

// admission lets the server admit a pod of each workload whose pods would
// change, up to some: its Pod Security level, limits, classes and webhooks are
// found so. A caller who may not create pods is spared; the other checks find
// most of it.
func (s *survey) admission(ctx context.Context) error {
	var tried atomic.Int32
	return s.eachPod(ctx, func(ctx context.Context, p part, t template) error {
		ns := t.object.id.Namespace
		if s.own[ID{Kind: "Namespace", Name: ns}] != nil {
			return nil
		}
		if fresh, err := s.makesPods(ctx, p, t); err != nil || !fresh || tried.Add(1) > tries {
			return err
		}
		pod := &corev1.Pod{ObjectMeta: *t.pod.ObjectMeta.DeepCopy(), Spec: *t.spec.DeepCopy()}
		pod.Name, pod.GenerateName, pod.Namespace = "", "shipit-preflight-", ns
		err := s.c.typed.create(ctx, podsKind, ns, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: Manager})
		if err == nil {
			return nil
		}
		err = s.c.explain(err)
		var forbidden *ForbiddenError
		if errors.As(err, &forbidden) {
			return nil
		}
		for _, f := range refusals(p.role.Name, t.object.id, err) {
			f.Message = "the API server refuses its pod: " + f.Message
			f.Fixed = false
			s.refuse(f)
		}
		return nil
	})
}

// makesPods reports whether a workload would get new pods. One that the caller may
// not look at is taken to.
func (s *survey) makesPods(ctx context.Context, p part, t template) (bool, error) {
	live, known, err := s.live(ctx, p, t.object)
	return err == nil && (!known || live == nil || t.replicas > askedFor(live) || !covers(podTemplate(t.object.body), podTemplate(live))), err
}

// makesAny reports whether any workload would get new pods: only then room is needed.
func (s *survey) makesAny(ctx context.Context) (bool, error) {
	for _, p := range s.parts {
		for _, t := range p.pods {
			if fresh, err := s.makesPods(ctx, p, t); err != nil || fresh {
				return fresh, err
			}
		}
	}
	return false, nil
}

// budgets warns of a PodDisruptionBudget that no pod may ever leave: it blocks
// every drain of a node.
func (s *survey) budgets(ctx context.Context) error {
	for _, p := range s.parts {
		for _, o := range p.objects {
			if o.id.Kind != "PodDisruptionBudget" {
				continue
			}
			got, err := typedBudget(o)
			if err != nil {
				return err
			}
			for _, t := range p.pods {
				if blocks(got, t) {
					s.find(release.Finding{Code: release.CodeBudgetBlocks, Severity: release.Warns, Role: p.role.Name, Object: o.id.String(),
						Message: fmt.Sprintf("it never lets one of the %d pods of %s go, so no node they are on can be drained", t.replicas, t.object.id),
						Hint:    "set maxUnavailable: 1, or run more replicas"})
				}
			}
		}
	}
	return nil
}

func typedBudget(o *object) (*policyv1.PodDisruptionBudget, error) {
	var b policyv1.PodDisruptionBudget
	_, err := typed(o.body, func(got *policyv1.PodDisruptionBudget) state { b = *got; return state{} })
	return &b, err
}

func blocks(b *policyv1.PodDisruptionBudget, t template) bool {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(t.meta)) || t.replicas == 0 {
		return false
	}
	if m := b.Spec.MaxUnavailable; m != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(m, t.replicas, true)
		return err == nil && n == 0
	}
	if m := b.Spec.MinAvailable; m != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(m, t.replicas, true)
		return err == nil && n >= t.replicas
	}
	return false
}
