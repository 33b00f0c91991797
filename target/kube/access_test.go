package kube

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/release"
)

// as gives the cluster as another user sees it, who is bound to the Role shipit-test.
func as(t *testing.T, c *Cluster, ns, user string) *Cluster {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", plane.path)
	require.NoError(t, err)
	cfg.QPS = -1
	cfg.Impersonate.UserName = user
	other := &Cluster{host: c.host, name: user}
	require.NoError(t, other.build(cfg))
	_, err = c.Client().RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "shipit-test"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return other
}

func setRole(t *testing.T, c *Cluster, ns string, rules []rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "shipit-test", Namespace: ns}, Rules: rules}
	_, err := c.Client().RbacV1().Roles(ns).Update(t.Context(), role, metav1.UpdateOptions{})
	if err != nil {
		_, err = c.Client().RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{})
	}
	require.NoError(t, err)
}

func TestRules(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
	rel := release.Release{App: "test", Roles: []release.Role{v1}}
	o := PreflightOptions{App: "test", Namespace: ns}

	text, err := admin.Rules(rel, o)
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(text, []byte("kind: Role")), "%s", text)
	var least rbacv1.Role
	require.NoError(t, yaml.UnmarshalStrict(text, &least))
	setRole(t, admin, ns, least.Rules)
	c := as(t, admin, ns, "deployer-"+ns)

	refusals := func(t *testing.T) []release.Finding {
		found, err := c.Preflight(t.Context(), rel, o)
		require.NoError(t, err)
		return slices.DeleteFunc(found.Findings, func(f release.Finding) bool { return f.Severity == release.Warns })
	}
	t.Run("they suffice to release, to prune and to roll back", func(t *testing.T) {
		require.Eventually(t, func() bool { return len(refusals(t)) == 0 }, 5e9, 2e7)
		for _, role := range []release.Role{v1, v2, v1} {
			_, _, err := roll(t, c, role)
			require.NoError(t, err)
		}
	})
	for i, rule := range least.Rules {
		for _, verb := range rule.Verbs {
			resource := strings.TrimSuffix(rule.Resources[0]+"."+rule.APIGroups[0], ".")
			t.Run("without "+verb+" "+resource+" it is refused by name", func(t *testing.T) {
				rules := slices.Clone(least.Rules)
				rules[i].Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb })
				if len(rules[i].Verbs) == 0 {
					rules = slices.Delete(rules, i, i+1)
				}
				setRole(t, admin, ns, rules)
				want := "not allowed to " + verb + " " + resource + " in namespace " + ns
				require.Eventually(t, func() bool {
					found := refusals(t)
					return len(found) == 1 && found[0].Code == "Forbidden" && found[0].Message == want && found[0].Fixed
				}, 5e9, 2e7, want)
			})
		}
	}
}

func TestForbidden(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	setRole(t, admin, ns, nil)
	c := as(t, admin, ns, "nobody-"+ns)
	_, err := c.Apply(t.Context(), roleOf(t, ns, digestOf("v1"), deployment("web", 1)), options(t))
	var forbidden *ForbiddenError
	require.ErrorAs(t, err, &forbidden)
	require.Contains(t, []string{"list", "get"}, forbidden.Verb)
	require.Equal(t, ns, forbidden.Namespace)
	require.NotEmpty(t, forbidden.Hint())
	require.NotContains(t, err.Error(), "\n")
}
