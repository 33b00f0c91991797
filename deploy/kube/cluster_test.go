package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
	"sigs.k8s.io/yaml"

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

// connect gives a client of the shared cluster.
func connect(t *testing.T) *Cluster {
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
	c, err := Connect(Options{Kubeconfig: plane.path})
	require.NoError(t, err)
	return c
}

// Client is client-go's own client, for what only tests do.
func (c *Cluster) Client() kubernetes.Interface {
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: c.host}, c.http)
	if err != nil {
		panic(err) // the connection has been made before
	}
	return client
}

// namespace makes a namespace of the test's own, with the service account that
// its pods need.
func namespace(t *testing.T, c *Cluster) string {
	t.Helper()
	ctx := t.Context()
	ns, err := c.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kube-test-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Client().CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	require.Eventually(t, func() bool {
		_, err := c.Client().CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	}, 10*time.Second, 20*time.Millisecond, "the namespace's service account")
	return ns.Name
}

const repository = "registry.test/app"

// digestOf is a digest for a short name, so that tests read well.
func digestOf(name string) string {
	return "sha256:" + hashOf([]byte(name)) + hashOf([]byte(name))
}

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

func options(t *testing.T) ApplyOptions {
	return ApplyOptions{App: "test", Progress: progress(t)}
}

func progress(t *testing.T) release.Progress {
	return func(e release.Event) {
		t.Logf("%s %s %s %d/%d %s", time.Now().Format("05.000"), e.Phase, e.Mark, e.Ready, e.Desired, e.Message)
	}
}

// roll applies a role and waits for it.
func roll(t *testing.T, c *Cluster, role release.Role) (release.Live, Applied, error) {
	t.Helper()
	a, err := c.Apply(t.Context(), role, options(t))
	if err != nil {
		return release.Live{}, a, err
	}
	live, err := c.Wait(t.Context(), role, a, WaitOptions{Timeout: time.Minute, Progress: progress(t)})
	return live, a, err
}

func replaceNS(s, ns string) string { return strings.ReplaceAll(s, "$NS", ns) }

// enforce sets a namespace's Pod Security level.
func enforce(t *testing.T, c *Cluster, ns, level string) {
	t.Helper()
	patch := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"` + level + `"}}}`
	_, err := c.Client().CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
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
func podUIDs(t *testing.T, c *Cluster, ns string) map[string]types.UID {
	t.Helper()
	list, err := c.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]types.UID{}
	for _, p := range list.Items {
		out[p.Name] = p.UID
	}
	return out
}
