package kube

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/rollout"
	"github.com/joelhooks/shipit/release"
)

// right is one verb on one resource.
type right struct{ verb, resource string }

func (r right) String() string { return r.verb + " " + r.resource }

// triedAnyway are requests that shipit makes although they may be refused, and what it
// does without the answer. They are no part of the least RBAC.
var triedAnyway = map[right]string{
	{"list", "nodes"}:          "capacity and platforms are not checked",
	{"list", "resourcequotas"}: "quotas are not checked",
	{"list", "configmaps"}:     "whether another namespace has records is not checked",
	{"create", "pods"}:         "admission of the pods is not tried",
}

// serviceAccount gives a kubeconfig of a service account that has no rights yet.
func serviceAccount(t *testing.T, c *user, ns string) (kubeconfig, name string) {
	t.Helper()
	_, err := c.kube.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	cfg, err := clientcmd.LoadFromFile(plane.path)
	require.NoError(t, err)
	name = "system:serviceaccount:" + ns + ":deployer"
	for _, who := range cfg.AuthInfos {
		who.Impersonate, who.ImpersonateGroups = name, []string{"system:serviceaccounts", "system:authenticated"}
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*cfg, kubeconfig))
	return kubeconfig, name
}

// grant binds the RBAC that shipit prints to a service account, and returns the rights.
func grant(t *testing.T, c *user, ns string, text []byte) map[right]bool {
	t.Helper()
	granted := map[right]bool{}
	for _, doc := range strings.Split(string(text), "---\n") {
		var role rbacv1.Role
		require.NoError(t, yaml.UnmarshalStrict([]byte(doc), &role))
		require.Equal(t, "Role", role.Kind)
		require.Equal(t, ns, role.Namespace)
		_, err := c.kube.RbacV1().Roles(ns).Create(t.Context(), &role, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = c.kube.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: ns}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}}, metav1.CreateOptions{})
		require.NoError(t, err)
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				granted[right{verb, strings.TrimSuffix(rule.Resources[0]+"."+rule.APIGroups[0], ".")}] = true
			}
		}
	}
	return granted
}

// asked are the rights that the requests of a user took, by the server's audit log:
// those that were used, and those that were refused.
func asked(t *testing.T, log *requests, name string) (used, refused map[right]bool) {
	t.Helper()
	from := log.from
	log.since() // all requests are written by now
	data, err := os.ReadFile(log.path)
	require.NoError(t, err)
	used, refused = map[right]bool{}, map[right]bool{}
	for _, line := range strings.Split(string(data[from:]), "\n") {
		var e struct {
			Verb, Stage      string
			ImpersonatedUser struct{ Username string }
			ObjectRef        struct{ Resource, Subresource, APIGroup string }
			ResponseStatus   struct{ Code int }
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.ImpersonatedUser.Username != name || e.ObjectRef.APIGroup == "authorization.k8s.io" || e.ObjectRef.Resource == "" {
			continue
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		r := right{e.Verb, strings.TrimSuffix(resource+"."+e.ObjectRef.APIGroup, ".")}
		switch {
		case e.ResponseStatus.Code == http.StatusForbidden:
			refused[r] = true
		case e.Stage == "ResponseComplete" || e.Stage == "ResponseStarted":
			used[r] = true
			if r.verb == "patch" && e.ResponseStatus.Code == http.StatusCreated {
				used[right{"create", r.resource}] = true // an apply that creates
			}
		}
	}
	return used, refused
}

// TestTheLeastRolesAreWhatIsUsed carries an app through its life as a service account
// that has the RBAC of `shipit rbac` and nothing else: no request is refused, but for
// those that shipit makes anyway, and no right is granted in vain.
func TestTheLeastRolesAreWhatIsUsed(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	_, err := c.kube.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"a": "b"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: $NS}\ndata: {a: b}"
	withKeys := "        envFrom: [{secretRef: {name: keys}}]"
	stated, open := deployment("web", 2, withKeys), strings.Replace(deployment("web", 2, withKeys), "  replicas: 2\n", "", 1)
	crashing := deployment("web", 2, fate("crash"))
	set := strings.ReplaceAll(workload("StatefulSet"), "web", "worker")
	worker := part{"worker", ns, []string{set}}
	web := func(deployment string, more ...string) part {
		return part{"web", ns, append([]string{deployment, service, settings}, more...)}
	}
	kubeconfig, name := serviceAccount(t, c, ns)
	a := newApp(t, "least", web(stated), worker)
	a.kubeconfig = kubeconfig
	all := a.release("v1", web(open, autoscaler(2)), worker)
	text, err := MinimalRBAC(a.Config, Options{Kubeconfig: kubeconfig}, all)
	require.NoError(t, err)
	granted := grant(t, c, ns, text)
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	deployer := newUser(t, cfg)
	require.Eventually(t, func() bool {
		_, err := deployer.kube.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil
	}, time.Minute, 20*time.Millisecond, "the rights take effect")

	log := newRequests(t, named(t))
	a.settled("v1", web(stated), worker)
	changeAPod(t, c, ns)
	a.settled("v1", web(stated), worker)
	a.settled("v2", web(open, autoscaler(2)), worker)
	require.Equal(t, release.Restored, a.ship("v3", web(crashing, autoscaler(2)), worker).Outcome)
	a.settled("v4", web(open, autoscaler(2)))
	a.settled("v5", part{"web", ns, []string{deployment("site", 1, withKeys) + "\n  minReadySeconds: 2"}})
	record, err := a.Rollback(t.Context(), "", deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Parity, record.Reason)
	_, err = a.Withdraw(t.Context(), record.Seq, "tried")
	require.NoError(t, err)

	// Whether a pod ends while somebody waits for it is chance: here those of web are
	// waited for as if their role was gone.
	running, err := podsOfRelease(all, "", nil)
	require.NoError(t, err)
	soon, cancel := context.WithTimeout(t.Context(), 3*time.Second) // it is used up
	defer cancel()
	target := a.Targets[release.TargetKubernetes].(*Target)
	require.NoError(t, target.awaitTraffic(soon, trafficWait{role: "web", services: running.services, gone: "web"}))
	// So is whether the warnings of a pod that fails came before they were needed: here
	// those of one are read as of a pod that nobody has watched.
	rollout.Explain(t.Context(), target.client, "web", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", UID: "none"}})

	used, refused := asked(t, log, name)
	for r := range refused {
		require.Contains(t, triedAnyway, r, "%s was refused: a right is missing", r)
	}
	for r := range triedAnyway {
		require.Contains(t, refused, r, "%s is not tried any more", r)
	}
	idle := slices.DeleteFunc(slices.Collect(maps.Keys(granted)), func(r right) bool { return used[r] })
	require.Empty(t, idle, "rights that are granted and never used")
}

// changeAPod changes one pod of the Deployment web by hand.
func changeAPod(t *testing.T, c *user, ns string) {
	t.Helper()
	pods, err := c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	require.NoError(t, err)
	_, err = c.kube.CoreV1().Pods(ns).Patch(t.Context(), pods.Items[0].Name, types.StrategicMergePatchType,
		[]byte(`{"spec":{"containers":[{"name":"main","image":"registry.test/other:1"}]}}`), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	require.NoError(t, err)
}
