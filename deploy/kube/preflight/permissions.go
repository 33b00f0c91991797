package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/object"
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

// permissionSet collects permissions, each once.
type permissionSet map[permission]bool

func (s permissionSet) add(namespace, group, resource string, verbs ...string) {
	for _, verb := range verbs {
		s[permission{namespace, group, resource, verb, ""}] = true
	}
}

func (s permissionSet) sorted() []permission {
	out := make([]permission, 0, len(s))
	for p := range s {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return fmt.Sprint(out[i]) < fmt.Sprint(out[j]) })
	return out
}

// needed lists what releasing, waiting, locking and rolling back takes.
func (r *run) needed() []permission {
	s := permissionSet{}
	for _, role := range r.roles {
		for _, o := range role.objects {
			k, ns := o.Kind.GVR, o.ID.Namespace
			s.add(ns, k.Group, k.Resource, "list", "patch", "create", "delete")
			if o.BecomesReady() || o.ID.Kind == "CustomResourceDefinition" {
				s.add(ns, k.Group, k.Resource, "watch")
			}
			if o.Serves() {
				s.add(ns, k.Group, k.Resource, "get")
			}
			if object.LeavesReplicasOpen(o.Body) {
				s.add(ns, "autoscaling", "horizontalpodautoscalers", "list") // package apply hands replicas over to one
			}
			if o.ID.Group == "" && o.ID.Kind == "Service" {
				s.add(ns, "discovery.k8s.io", "endpointslices", "list", "watch")
			}
		}
		parent := role.set.Parent.Namespace
		s.add(parent, "", "configmaps", "get", "create", "patch", "delete") // the parent of the ApplySet
		for _, w := range role.workloads {
			r.neededForPods(s, w)
		}
	}
	if ledger := r.ledgerNamespace(); ledger != "" {
		s.add(ledger, "", "configmaps", "get", "list", "create", "update", "patch")
		s.add(ledger, "coordination.k8s.io", "leases", "get", "create", "update")
	}
	return s.sorted()
}

// ledgerNamespace is where the records are; "" if the release has none in a cluster.
func (r *run) ledgerNamespace() string {
	if r.o.App == "" {
		return ""
	}
	ns := r.o.Namespace
	for _, role := range r.roles {
		ns = cmp.Or(ns, role.set.Parent.Namespace)
	}
	return ns
}

func (r *run) neededForPods(s permissionSet, w workload) {
	ns := w.ID.Namespace
	s.add(ns, "", "pods", "list", "watch")
	s.add(ns, "", "pods/log", "get")
	s.add(ns, "", "events", "list", "watch")
	s.add(ns, "apps", "replicasets", "watch")
	if w.Serves() {
		s.add(ns, "", "pods", "delete") // those that a hand has changed, and those that block a rolling update
	}
	if r.o.Probes {
		s.add(ns, "", "pods/proxy", "get", "create", "update") // GET, POST, PUT
	}
	names := object.SecretsOf(&w.pod.Spec)
	for _, ref := range w.pod.Spec.ImagePullSecrets {
		names[ref.Name] = true
	}
	for name := range names {
		s[permission{ns, "", "secrets", "get", name}] = true
	}
	for _, ref := range referencesOf(&w.pod.Spec, ns) {
		switch ref.id.Kind {
		case "ConfigMap":
			s.add(ns, "", "configmaps", "get")
		case "PersistentVolumeClaim":
			s.add(ns, "", "persistentvolumeclaims", "get")
		case "ServiceAccount":
			s.add(ns, "", "serviceaccounts", "get")
		}
	}
}

// permissions asks for every permission that the release needs, and names each that
// is missing. One request a namespace answers for most callers.
func (r *run) permissions(ctx context.Context) error {
	byNamespace := map[string][]permission{}
	for _, p := range r.needed() {
		byNamespace[p.namespace] = append(byNamespace[p.namespace], p)
	}
	group, gctx := errgroup.WithContext(ctx)
	for ns, list := range byNamespace {
		group.Go(func() error { return r.permissionsIn(gctx, ns, list) })
	}
	return group.Wait()
}

// Permissions finds which permissions the caller lacks to release the roles. It asks
// for nothing else.
func Permissions(ctx context.Context, c *client.Client, roles []Role, o Options) ([]release.Finding, error) {
	r, err := newRun(c, roles, o)
	if err != nil {
		return nil, err
	}
	if err := r.permissions(ctx); err != nil {
		return nil, err
	}
	return r.sorted(), nil
}

// prunePermissions asks whether what the release no longer has may be deleted.
func (r *run) prunePermissions(ctx context.Context) error {
	s := permissionSet{}
	for _, role := range r.roles {
		state, err := role.state()
		if err != nil {
			return err
		}
		for id, m := range state.Obsolete() {
			s.add(id.Namespace, m.Kind.GVR.Group, m.Kind.GVR.Resource, "delete")
		}
	}
	for _, p := range r.needed() {
		delete(s, p) // permissions asks for these
	}
	for _, p := range s.sorted() {
		if err := r.ask(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) permissionsIn(ctx context.Context, ns string, list []permission) error {
	// Without a namespace the server answers only for one; the default stands for all.
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: cmp.Or(ns, "default")}}
	if err := r.c.Create(ctx, client.RulesReviews, "", review, metav1.CreateOptions{}); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(client.Parallel)
	for _, p := range list {
		if ns != "" && granted(review.Status.ResourceRules, p) {
			continue
		}
		group.Go(func() error { return r.ask(gctx, p) })
	}
	return group.Wait()
}

// granted reports whether the rules that the server listed grant the permission. They
// may be incomplete, so that false only means: ask.
func granted(rules []authorizationv1.ResourceRule, p permission) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	return slices.ContainsFunc(rules, func(r authorizationv1.ResourceRule) bool {
		return has(r.Verbs, p.verb) && has(r.APIGroups, p.group) && has(r.Resources, p.resource) &&
			(len(r.ResourceNames) == 0 || p.name != "" && slices.Contains(r.ResourceNames, p.name))
	})
}

// ask asks the server for one permission.
func (r *run) ask(ctx context.Context, p permission) error {
	resource, sub, _ := strings.Cut(p.resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: p.namespace, Verb: p.verb, Group: p.group, Resource: resource, Subresource: sub, Name: p.name,
	}}}
	if err := r.c.Create(ctx, client.AccessReviews, "", review, metav1.CreateOptions{}); err != nil || review.Status.Allowed {
		return err
	}
	f := release.Finding{Code: release.CodeForbidden, Severity: release.Refuses, Fixed: true, Message: "not allowed to " + p.String(), Hint: client.ForbiddenHint}
	if p.resource == "secrets" && p.verb == "get" {
		// The release can do without reading Secrets: their keys are then not checked, nor their values redacted by name.
		f.Severity, f.Fixed = release.Warns, false
	}
	r.found(f)
	return nil
}
