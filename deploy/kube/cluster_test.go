package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/client"
	"github.com/joelhooks/shipit/deploy/kube/compare"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// plane is one simulated cluster for all tests of the package: a real API
// server, controllers and scheduler; the pods are kwok's.
var plane struct {
	once sync.Once
	up   *cluster.Cluster
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if plane.up != nil {
		if err := plane.up.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// user is one user of a cluster: by shipit's client, with the steps of a Target one by
// one, and by client-go's own for what only tests do.
type user struct {
	*client.Client
	kube       kubernetes.Interface
	kubeconfig string
	auditLog   string // of the cluster
	name       string // by which the audit log knows the user; empty: the administrator, who is many
}

func newUser(t *testing.T, cfg *rest.Config) *user {
	t.Helper()
	u := &user{kubeconfig: kubeconfigOf(t, cfg), name: cfg.Impersonate.UserName}
	var err error
	u.Client, err = client.Connect(client.Options{Kubeconfig: u.kubeconfig})
	require.NoError(t, err)
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.UserAgent = -1, "test"
	u.kube, err = kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	return u
}

// kubeconfigOf writes a configuration to a file.
func kubeconfigOf(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	k := clientcmdapi.NewConfig()
	k.Clusters["c"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthority: cfg.CAFile, CertificateAuthorityData: cfg.CAData, TLSServerName: cfg.ServerName}
	k.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: cfg.BearerToken, ClientCertificate: cfg.CertFile, ClientCertificateData: cfg.CertData, ClientKey: cfg.KeyFile, ClientKeyData: cfg.KeyData,
		Impersonate: cfg.Impersonate.UserName, ImpersonateGroups: cfg.Impersonate.Groups}
	k.Contexts["x"], k.CurrentContext = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}, "x"
	at := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*k, at))
	return at
}

// planeConfig is how the shared cluster is reached.
func planeConfig(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", plane.path)
	require.NoError(t, err)
	return cfg
}

// connect gives a user of the shared cluster.
func connect(t *testing.T) *user {
	t.Helper()
	if testing.Short() {
		t.Skip("a cluster takes a while to come up, and -short is set")
	}
	plane.once.Do(func() {
		plane.up, plane.err = cluster.Up(context.Background(), cluster.Options{Audit: true, Nodes: 12, Progress: func(s string) { fmt.Fprintln(os.Stderr, s) }})
		if plane.err == nil {
			plane.path = plane.up.Kubeconfig
		}
	})
	require.NoError(t, plane.err)
	return newUser(t, planeConfig(t))
}

// named gives a user of the shared cluster who may do everything, and whose requests can be
// told from those of the tests beside.
func named(t *testing.T) *user {
	t.Helper()
	connect(t)
	return namedIn(t, plane.up)
}

// namedIn is named of another cluster.
func namedIn(t *testing.T, up *cluster.Cluster) *user {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", up.Kubeconfig)
	require.NoError(t, err)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "test:" + t.Name(), Groups: []string{"system:masters"}}
	u := newUser(t, cfg)
	u.auditLog = up.AuditLog
	return u
}

// applyOptions say how a test applies a role.
type applyOptions struct {
	app      string // default "test"
	policy   compare.Policy
	roles    []release.Role
	progress release.Progress
}

func options(t *testing.T) applyOptions { return applyOptions{progress: progress(t)} }

func (o applyOptions) apply() apply.Options {
	return apply.Options{Policy: o.policy, Roles: o.roles, Progress: o.progress}
}

// Apply applies a role.
func (u *user) Apply(ctx context.Context, role release.Role, o applyOptions) (apply.Applied, error) {
	state, err := u.read(ctx, role, cmp.Or(o.app, "test"))
	if err != nil {
		return apply.Applied{}, err
	}
	return apply.Apply(ctx, u.Client, state, o.apply())
}

// Diff has the server try a role of the app "test".
func (u *user) Diff(ctx context.Context, role release.Role, o applyOptions) (apply.Plan, error) {
	state, err := u.read(ctx, role, "test")
	if err != nil {
		return apply.Plan{}, err
	}
	return apply.Diff(ctx, u.Client, state, o.apply())
}

// Wait completes what was applied within a time limit.
func (u *user) Wait(ctx context.Context, role release.Role, a apply.Applied, o Options) (release.Live, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return (&Target{client: u.Client, options: o}).complete(ctx, stepOf(role), a, 0)
}

// read reads what a role of an app has in the cluster.
func (u *user) read(ctx context.Context, role release.Role, app string) (apply.State, error) {
	objects, err := u.Parse(role)
	if err != nil {
		return apply.State{}, err
	}
	s := apply.State{Role: role, Objects: objects, Set: apply.SetOf(app, role.Name, "", objects)}
	s.Inventory, err = apply.ReadInventory(ctx, u.Client, s.Set, objects)
	return s, err
}

// stepOf is the switch of a release of one role.
func stepOf(role release.Role) deploy.Step {
	return deploy.Step{Release: release.Release{App: "test", Roles: []release.Role{role}}, Role: role}
}

// Observe reads what runs.
func (u *user) Observe(ctx context.Context, role release.Role) (release.Live, error) {
	found, err := readRunning(ctx, u.Client, role)
	if err != nil {
		return release.Live{}, err
	}
	live, _ := observe(ctx, u.Client, role, found)
	return live, nil
}

// Preflight checks one role of the app "test".
func (u *user) Preflight(ctx context.Context, role release.Role, o preflight.Options) (preflight.Result, error) {
	o.App = "test"
	return preflight.Run(ctx, u.Client, []preflight.Role{{Role: role}}, o)
}

// changed reports whether an apply wrote anything.
func changed(a apply.Applied) bool {
	return slices.ContainsFunc(a.Results, func(r apply.Result) bool { return r.Action != release.ActionUnchanged })
}

// results are what an apply did, in lines.
func results(a apply.Applied) []string {
	var out []string
	for _, r := range a.Results {
		out = append(out, r.Object.ID.String()+" "+string(r.Action))
	}
	return out
}

// namespace makes a namespace of the test's own, with the service account that
// its pods need.
func namespace(t *testing.T, c *user) string {
	t.Helper()
	ctx := t.Context()
	ns, err := c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kube-test-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.kube.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	require.Eventually(t, func() bool {
		_, err := c.kube.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	}, time.Minute, 20*time.Millisecond, "the namespace's service account")
	return ns.Name
}

const repository = "registry.test/app"

// digestOf is a digest for a short name, so that tests read well.
func digestOf(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// roleOf is a role made of YAML documents. $NS and $IMAGE are filled in.
func roleOf(t *testing.T, ns, digest string, docs ...string) release.Role {
	t.Helper()
	role := release.Role{Name: "web", Target: release.TargetKubernetes, Repository: repository, Digest: digest}
	for _, doc := range docs {
		doc = strings.NewReplacer("$NS", ns, "$IMAGE", role.Reference()).Replace(doc)
		for _, one := range strings.Split(doc, "\n---\n") {
			var v any
			require.NoError(t, yaml.Unmarshal([]byte(one), &v), one)
			raw, err := json.Marshal(v)
			require.NoError(t, err)
			role.Objects = append(role.Objects, raw)
		}
	}
	return role
}

// deployment is a Deployment of that many pods; extra lines go into its pod spec's container.
func deployment(name string, replicas int, extra ...string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: $NS, labels: {app: %[1]s}}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: main
        image: $IMAGE
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 10m, memory: 1000Ki}}
%[3]s`, name, replicas, strings.Join(extra, "\n"))
}

const service = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: $NS}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]`

// fate makes the simulated pods of a deployment end so.
func fate(name string) string {
	return "        env: [{name: FIXTURE_FAULT, value: " + name + "}]"
}

func progress(t *testing.T) release.Progress {
	return func(e release.Event) {
		t.Logf("%s %s %s %d/%d %s", time.Now().Format("05.000"), e.Phase, e.Mark, e.Ready, e.Desired, e.Message)
	}
}

// roll applies a role and waits for it.
func roll(t *testing.T, c *user, role release.Role) (release.Live, apply.Applied, error) {
	t.Helper()
	a, err := c.Apply(t.Context(), role, options(t))
	if err != nil {
		return release.Live{}, a, err
	}
	live, err := c.Wait(t.Context(), role, a, Options{Timeout: 2 * time.Minute, Progress: progress(t)})
	return live, a, err
}

func replaceNS(s, ns string) string { return strings.ReplaceAll(s, "$NS", ns) }

// enforce sets a namespace's Pod Security level.
func enforce(t *testing.T, c *user, ns, level string) {
	t.Helper()
	patch := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"` + level + `"}}}`
	_, err := c.kube.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

// workload is a workload of any kind with one container; lines for its pod spec
// can follow, indented by six.
func workload(kind string) string {
	head := map[string]string{
		"Deployment":  "apps/v1\nkind: Deployment",
		"StatefulSet": "apps/v1\nkind: StatefulSet",
		"DaemonSet":   "apps/v1\nkind: DaemonSet",
		"Job":         "batch/v1\nkind: Job",
	}[kind]
	doc := "apiVersion: " + head + `
metadata: {name: web, namespace: $NS, labels: {app: web}}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: $IMAGE}]`
	switch kind {
	case "Job":
		return doc + "\n      restartPolicy: Never"
	case "StatefulSet":
		doc = strings.Replace(doc, "spec:\n  template", "spec:\n  serviceName: web\n  selector: {matchLabels: {app: web}}\n  template", 1)
	default:
		doc = strings.Replace(doc, "spec:\n  template", "spec:\n  selector: {matchLabels: {app: web}}\n  template", 1)
	}
	return doc
}

// podUIDs are those of the pods of a namespace, by name.
func podUIDs(t *testing.T, c *user, ns string) map[string]types.UID {
	t.Helper()
	list, err := c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]types.UID{}
	for _, p := range list.Items {
		out[p.Name] = p.UID
	}
	return out
}
