package preflight

import (
	"fmt"
	"slices"
	"sort"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy/kube/client"
)

// MinimalRBAC is the RBAC, as YAML, that suffices to release, watch, lock and roll back
// the roles: one Role a namespace, and a ClusterRole where objects have none.
func MinimalRBAC(c *client.Client, roles []Role, o Options) ([]byte, error) {
	r, err := newRun(c, roles, o)
	if err != nil {
		return nil, err
	}
	rules := map[string][]rbacv1.PolicyRule{} // by namespace
	var namespaces []string
	needed := permissionSet{}
	for _, p := range r.needed() {
		needed[p] = true
	}
	if ledger := r.ledgerNamespace(); ledger != "" {
		needed.add(ledger, "", "configmaps", "delete") // of records that are archived; without it they stay
	}
	for _, p := range needed.sorted() {
		if rules[p.namespace] == nil {
			namespaces = append(namespaces, p.namespace)
		}
		rules[p.namespace] = addRule(rules[p.namespace], p)
	}
	sort.Strings(namespaces)
	var out []byte
	for _, ns := range namespaces {
		text, err := yaml.Marshal(roleObject(o.App, ns, rules[ns]))
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

// roleObject is a Role, or a ClusterRole if there is no namespace.
func roleObject(app, namespace string, rules []rbacv1.PolicyRule) map[string]any {
	kind, metadata := "ClusterRole", map[string]any{"name": "shipit-" + app}
	if namespace != "" {
		kind, metadata["namespace"] = "Role", namespace
	}
	return map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules}
}

// addRule adds a permission to rules that have one entry a resource.
func addRule(rules []rbacv1.PolicyRule, p permission) []rbacv1.PolicyRule {
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
