package kube

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	job := strings.ReplaceAll(workload("Job"), "name: web", "name: once")
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service, job), roleOf(t, ns, digestOf("v2"), deployment("web", 1), job)
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
		_, err := admin.Client().CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}, metav1.CreateOptions{})
		require.NoError(t, err)
		for _, role := range []release.Role{v1, v2, v1} {
			_, err := c.Diff(t.Context(), role, options(t))
			require.NoError(t, err)
			_, _, err = roll(t, c, role)
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

func TestRulesForADefinition(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	role := roleOf(t, ns, digestOf("v1"), widget)
	text, err := admin.Rules(release.Release{App: "test", Roles: []release.Role{role}}, PreflightOptions{App: "test", Namespace: ns})
	require.NoError(t, err)
	for _, doc := range strings.Split(string(text), "---\n") {
		var rules rbacv1.ClusterRole
		require.NoError(t, yaml.Unmarshal([]byte(doc), &rules))
		if rules.Kind == "Role" {
			setRole(t, admin, ns, rules.Rules)
			continue
		}
		all := admin.Client().RbacV1()
		_, err := all.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns}, Rules: rules.Rules}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = all.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: ns},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "definer-" + ns}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ns}}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = all.ClusterRoles().Delete(context.Background(), ns, metav1.DeleteOptions{})
			_ = all.ClusterRoleBindings().Delete(context.Background(), ns, metav1.DeleteOptions{})
			_ = admin.raw().Delete().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets." + ns + ".test").Do(context.Background()).Error()
		})
	}
	c := as(t, admin, ns, "definer-"+ns)
	require.Eventually(t, func() bool {
		found, err := c.Preflight(t.Context(), release.Release{App: "test", Roles: []release.Role{role}}, PreflightOptions{App: "test", Namespace: ns})
		return err == nil && release.Refuse(found.Findings, nil) == nil
	}, 5*time.Second, 20*time.Millisecond)
	_, _, err = roll(t, c, role)
	require.NoError(t, err)
}

func TestKindsThatOnlyTheReleaseBeforeHad(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	full, small := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service), roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, _, err := roll(t, admin, full)
	require.NoError(t, err)
	rel, o := release.Release{App: "test", Roles: []release.Role{small}}, PreflightOptions{App: "test", Namespace: ns}
	text, err := admin.Rules(rel, o)
	require.NoError(t, err)
	var least rbacv1.Role
	require.NoError(t, yaml.UnmarshalStrict(text, &least))
	c := as(t, admin, ns, "pruner-"+ns)
	for _, tc := range []struct{ verbs, want string }{
		{"", "not allowed to list services"}, {"list", "not allowed to delete services"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			rules := slices.Clone(least.Rules)
			if tc.verbs != "" {
				rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{tc.verbs}})
			}
			setRole(t, admin, ns, rules)
			var found []release.Finding
			require.Eventually(t, func() bool {
				s, err := c.Preflight(t.Context(), rel, o)
				if err != nil {
					return false
				}
				found = slices.DeleteFunc(s.Findings, func(f release.Finding) bool { return f.Severity == release.Warns })
				return len(found) == 1 && strings.HasPrefix(found[0].Message, tc.want)
			}, 5*time.Second, 20*time.Millisecond)
			require.Equal(t, release.CodeForbidden, found[0].Code)
		})
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
