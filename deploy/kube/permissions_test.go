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
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/release"
)

// as gives the cluster as another user sees it, who is bound to the Role shipit-test.
func as(t *testing.T, c *user, ns, name string) *user {
	t.Helper()
	cfg := planeConfig(t)
	cfg.Impersonate.UserName = name
	other := newUser(t, cfg)
	_, err := c.kube.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "shipit-test"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return other
}

// leastRoles is the RBAC that a role of the app "test" needs.
func leastRoles(u *user, ns string, role release.Role) ([]byte, error) {
	return preflight.MinimalRBAC(u.Client, []preflight.Role{{Role: role}}, preflight.Options{App: "test", Namespace: ns})
}

func setRole(t *testing.T, c *user, ns string, rules []rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "shipit-test", Namespace: ns}, Rules: rules}
	_, err := c.kube.RbacV1().Roles(ns).Update(t.Context(), role, metav1.UpdateOptions{})
	if err != nil {
		_, err = c.kube.RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{})
	}
	require.NoError(t, err)
}

func TestLeastRoles(t *testing.T) {
	t.Parallel()
	admin := connect(t)
	ns := namespace(t, admin)
	job := strings.ReplaceAll(workload("Job"), "name: web", "name: once")
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service, job), roleOf(t, ns, digestOf("v2"), deployment("web", 1), job)

	text, err := leastRoles(admin, ns, v1)
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(text, []byte("kind: Role")), "%s", text)
	var least rbacv1.Role
	require.NoError(t, yaml.UnmarshalStrict(text, &least))
	setRole(t, admin, ns, least.Rules)
	c := as(t, admin, ns, "deployer-"+ns)

	refusals := func(t *testing.T) []release.Finding {
		found, err := c.Preflight(t.Context(), v1, preflight.Options{Namespace: ns})
		require.NoError(t, err)
		return slices.DeleteFunc(found.Findings, func(f release.Finding) bool { return f.Severity == release.Warns })
	}
	t.Run("they suffice to release, to prune and to roll back", func(t *testing.T) {
		require.Eventually(t, func() bool { return len(refusals(t)) == 0 }, 5e9, 2e7)
		_, err := admin.kube.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
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

func TestLeastRolesForADefinition(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	role := roleOf(t, ns, digestOf("v1"), widget)
	text, err := leastRoles(admin, ns, role)
	require.NoError(t, err)
	for _, doc := range strings.Split(string(text), "---\n") {
		var rules rbacv1.ClusterRole
		require.NoError(t, yaml.Unmarshal([]byte(doc), &rules))
		if rules.Kind == "Role" {
			setRole(t, admin, ns, rules.Rules)
			continue
		}
		all := admin.kube.RbacV1()
		_, err := all.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns}, Rules: rules.Rules}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = all.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: ns},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "definer-" + ns}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ns}}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = all.ClusterRoles().Delete(context.Background(), ns, metav1.DeleteOptions{})
			_ = all.ClusterRoleBindings().Delete(context.Background(), ns, metav1.DeleteOptions{})
			_ = deleteWidgets(context.Background(), admin, ns)
		})
	}
	c := as(t, admin, ns, "definer-"+ns)
	require.Eventually(t, func() bool {
		found, err := c.Preflight(t.Context(), role, preflight.Options{Namespace: ns})
		return err == nil && release.Refuse(found.Findings, nil) == nil
	}, time.Minute, 20*time.Millisecond)
	_, _, err = roll(t, c, role)
	require.NoError(t, err)
}

func TestKindsThatOnlyTheReleaseBeforeHad(t *testing.T) {
	admin := connect(t)
	ns := namespace(t, admin)
	full, small := roleOf(t, ns, digestOf("v1"), deployment("web", 1), service), roleOf(t, ns, digestOf("v1"), deployment("web", 1))
	_, _, err := roll(t, admin, full)
	require.NoError(t, err)
	text, err := leastRoles(admin, ns, small)
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
				s, err := c.Preflight(t.Context(), small, preflight.Options{Namespace: ns})
				if err != nil {
					return false
				}
				found = slices.DeleteFunc(s.Findings, func(f release.Finding) bool { return f.Severity == release.Warns })
				return len(found) == 1 && strings.HasPrefix(found[0].Message, tc.want)
			}, time.Minute, 20*time.Millisecond)
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
	var forbidden *client.ForbiddenError
	require.ErrorAs(t, err, &forbidden)
	require.Contains(t, []string{"list", "get"}, forbidden.Verb)
	require.Equal(t, ns, forbidden.Namespace)
	require.NotEmpty(t, forbidden.Hint())
	require.NotContains(t, err.Error(), "\n")
}
