package kube

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sync/errgroup"
	authv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/release"
)

// permission is one verb on one resource.
type permission struct {
	namespace             string // empty: the whole cluster
	group, resource, verb string
	name                  string // of the only object that is meant; empty for all
}

func (p permission) String() string {
	resource := p.resource
	if p.group != "" {
		resource += "." + p.group
	}
	where := "in the whole cluster"
	if p.namespace != "" {
		where = "in namespace " + p.namespace
	}
	return fmt.Sprintf("%s %s %s", p.verb, resource, where)
}

// needs lists what releasing, waiting, locking and rolling back takes.
func (s *survey) needs() []permission {
	n := needs{}
	home := s.o.Namespace
	for _, p := range s.parts {
		for _, o := range p.objects {
			k, ns := o.kind, o.id.Namespace
			n.add(ns, k.gvr.Group, k.gvr.Resource, "list", "patch", "create", "delete")
			if waits(o) || rank(k) == rankDefinition {
				n.add(ns, k.gvr.Group, k.gvr.Resource, "watch")
			}
			if serves(o) {
				n.add(ns, k.gvr.Group, k.gvr.Resource, "get")
			}
		}
		set := s.home(p)
		n.add(set, "", "configmaps", "get", "create", "patch")
		for _, t := range p.pods {
			s.podNeeds(n, t)
		}
		home = firstOf(home, set)
	}
	if home != "" && s.o.App != "" {
		n.add(home, "", "configmaps", "get", "list", "create", "update", "patch")
		n.add(home, "coordination.k8s.io", "leases", "get", "create", "update")
	}
	return n.sorted()
}

func (s *survey) podNeeds(n needs, t template) {
	ns := t.object.id.Namespace
	n.add(ns, "", "pods", "list", "watch")
	n.add(ns, "", "pods/log", "get")
	n.add(ns, "", "events", "list", "watch")
	n.add(ns, "apps", "replicasets", "list", "watch")
	if t.object.id.Kind == "StatefulSet" {
		n.add(ns, "", "pods", "delete") // see unstick
	}
	if s.o.Probes {
		n.add(ns, "", "pods/proxy", "get", "create", "update") // GET, POST, PUT
	}
	names := secretNames(&t.spec)
	for _, ref := range t.spec.ImagePullSecrets {
		names[ref.Name] = true
	}
	for name := range names {
		n[permission{ns, "", "secrets", "get", name}] = true
	}
	for _, ref := range referencesOf(&t.spec, ns) {
		switch ref.id.Kind {
		case "ConfigMap":
			n.add(ns, "", "configmaps", "get")
		case "PersistentVolumeClaim":
			n.add(ns, "", "persistentvolumeclaims", "get")
		case "ServiceAccount":
			n.add(ns, "", "serviceaccounts", "get")
		}
	}
}

type needs map[permission]bool

func (n needs) add(namespace, group, resource string, verbs ...string) {
	for _, verb := range verbs {
		n[permission{namespace, group, resource, verb, ""}] = true
	}
}

func (n needs) sorted() []permission {
	out := make([]permission, 0, len(n))
	for p := range n {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return fmt.Sprint(out[i]) < fmt.Sprint(out[j]) })
	return out
}

// access asks for every permission that the release needs, and names each that
// is missing. One request a namespace answers for most callers.
func (s *survey) access(ctx context.Context) error {
	byPlace := map[string][]permission{}
	for _, p := range s.needs() {
		byPlace[p.namespace] = append(byPlace[p.namespace], p)
	}
	group, gctx := errgroup.WithContext(ctx)
	for ns, list := range byPlace {
		group.Go(func() error { return s.accessIn(gctx, ns, list) })
	}
	return group.Wait()
}

// prunes asks whether what the release no longer has may be deleted.
func (s *survey) prunes(ctx context.Context) error {
	n := needs{}
	for _, p := range s.parts {
		inv, err := p.stock()
		if err != nil {
			return err
		}
		for id, m := range obsolete(inv, p.objects) {
			if !keptKinds[id.Kind] {
				n.add(id.Namespace, m.kind.gvr.Group, m.kind.gvr.Resource, "delete")
			}
		}
	}
	for _, p := range s.needs() {
		delete(n, p) // access asks for these
	}
	for _, p := range n.sorted() {
		if err := s.accessTo(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) accessIn(ctx context.Context, ns string, list []permission) error {
	// Without a namespace the server answers only for one; the default stands for all.
	review := &authv1.SelfSubjectRulesReview{Spec: authv1.SelfSubjectRulesReviewSpec{Namespace: firstOf(ns, "default")}}
	if err := s.c.typed.create(ctx, rulesReviewsKind, "", review, metav1.CreateOptions{}); err != nil {
		return s.c.explain(err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range list {
		if ns != "" && granted(review.Status.ResourceRules, p) {
			continue
		}
		group.Go(func() error { return s.accessTo(gctx, p) })
	}
	return group.Wait()
}

// granted reports whether the rules that the server listed allow it. They may be
// incomplete, so that false only means: ask.
func granted(rules []authv1.ResourceRule, p permission) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	return slices.ContainsFunc(rules, func(r authv1.ResourceRule) bool {
		return has(r.Verbs, p.verb) && has(r.APIGroups, p.group) && has(r.Resources, p.resource) &&
			(len(r.ResourceNames) == 0 || p.name != "" && slices.Contains(r.ResourceNames, p.name))
	})
}

func (s *survey) accessTo(ctx context.Context, p permission) error {
	resource, sub := p.resource, ""
	if i := slices.Index([]byte(p.resource), '/'); i >= 0 {
		resource, sub = p.resource[:i], p.resource[i+1:]
	}
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{
		Namespace: p.namespace, Verb: p.verb, Group: p.group, Resource: resource, Subresource: sub, Name: p.name,
	}}}
	if err := s.c.typed.create(ctx, accessReviewsKind, "", review, metav1.CreateOptions{}); err != nil {
		return s.c.explain(err)
	}
	if review.Status.Allowed {
		return nil
	}
	f := release.Finding{Code: release.CodeForbidden, Severity: release.Refuses, Fixed: true, Message: "not allowed to " + p.String(),
		Hint: "`shipit rbac` prints the least Role that suffices; have it bound to this user"}
	if p.resource == "secrets" && p.verb == "get" {
		// The release can do without looking at secrets: their keys are then not checked, nor their values hidden by name.
		f.Severity, f.Fixed = release.Warns, false
	}
	s.find(f)
	return nil
}

// Rules is the least Role, as YAML, that suffices to release, watch, lock and
// roll back rel: one a namespace, and a ClusterRole where objects have none.
func (c *Cluster) Rules(rel release.Release, o PreflightOptions) ([]byte, error) {
	s, err := c.survey(rel, o)
	if err != nil {
		return nil, err
	}
	byPlace := map[string][]rbacv1.PolicyRule{}
	var places []string
	for _, p := range s.needs() {
		if byPlace[p.namespace] == nil {
			places = append(places, p.namespace)
		}
		byPlace[p.namespace] = allow(byPlace[p.namespace], p)
	}
	sort.Strings(places)
	var out []byte
	for _, ns := range places {
		role := map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
			"metadata": map[string]any{"name": "shipit-" + o.App, "namespace": ns}, "rules": byPlace[ns],
		}
		if ns == "" {
			role["kind"], role["metadata"] = "ClusterRole", map[string]any{"name": "shipit-" + o.App}
		}
		text, err := yaml.Marshal(role)
		if err != nil {
			return nil, fmt.Errorf("write the Role of namespace %s: %w", ns, err)
		}
		if len(out) > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, text...)
	}
	return out, nil
}

// allow adds a permission to rules that have one entry a resource.
func allow(rules []rbacv1.PolicyRule, p permission) []rbacv1.PolicyRule {
	for i := range rules {
		r := &rules[i]
		if r.APIGroups[0] != p.group || r.Resources[0] != p.resource || (p.name != "") != (len(r.ResourceNames) > 0) {
			continue
		}
		if !slices.Contains(r.Verbs, p.verb) {
			r.Verbs = append(r.Verbs, p.verb)
		}
		if p.name != "" && !slices.Contains(r.ResourceNames, p.name) {
			r.ResourceNames = append(r.ResourceNames, p.name)
		}
		return rules
	}
	r := rbacv1.PolicyRule{APIGroups: []string{p.group}, Resources: []string{p.resource}, Verbs: []string{p.verb}}
	if p.name != "" {
		r.ResourceNames = []string{p.name}
	}
	return append(rules, r)
}
