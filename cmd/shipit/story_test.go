package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/joelhooks/shipit/internal/faults"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"shipit": func() { os.Exit(run(withAccidents(context.Background()))) }})
}

// ground is what the stories of one test stand on.
type ground struct {
	kubeconfig string
	registry   string
	base       string // a base image in the registry, by digest
	client     kubernetes.Interface
	host       *devhost.Host // nil where a story has no host
	ssh        *faults.SSH   // through which the host is reached; nil: directly

	tools        string // folder of pnpm, for stories that install
	dependencies string // folder with a worker's files that has 200 packages from npm

	blobs   string        // folder of a real node's registry
	private cluster.Login // registry with a password; zero where pods are simulated
	adopted bool          // the repository is the sample of one that is deployed by hand
	worker  string        // the URL of the worker that simulated pods answer for, where there is one
}

// TestStories runs every story against a real API server, real controllers and
// a real registry; pods are simulated by kwok, so no code of an image runs here.
func TestStories(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("stories need a control plane; -short leaves them out")
	}
	files, err := filepath.Glob("testdata/stories/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	g := simulated(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			g.run(t, file, "")
		})
	}
}

// simulated is a control plane with simulated nodes, and a registry.
func simulated(t *testing.T) ground {
	t.Helper()
	return simulatedNodes.ground(t)
}

// ground is the cluster, joined, with a registry of the test's own.
func (s *shared) ground(t *testing.T) ground {
	t.Helper()
	c := s.join(t)
	return ground{kubeconfig: c.Kubeconfig, client: clientOf(t, c.Kubeconfig)}.withRegistry(t)
}

// withRegistry is the same ground with a registry of its own, which holds a base image.
func (g ground) withRegistry(t *testing.T) ground {
	t.Helper()
	addr, shut, err := cluster.Registry(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(shut)
	g.registry, g.base = addr, emptyBase(t, addr)
	return g
}

// answerLikeWorker is what the sample's worker answers on GET /, and on PUT the URL that
// it would register. No worker runs in a simulated pod: this proves shipit's way to a pod
// and its probes, no image.
func answerLikeWorker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPut {
		_, _ = fmt.Fprintf(w, `{"message":"Successfully registered","url":"http://%s%s"}`, r.Host, r.URL.Path)
		return
	}
	_, _ = io.WriteString(w, `{"functions":["approval-request","task-created"],"count":2,"worker":{"role":"cluster","lastRegistrationAt":"2026-01-02T03:04:05Z"}}`)
}

func progressOf(t *testing.T) func(string) {
	return func(line string) { fmt.Fprintf(os.Stderr, "%s: %s\n", t.Name(), line) }
}

func clientOf(t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	return client
}

// emptyBase pushes a base image that holds nothing: enough where no code runs.
func emptyBase(t *testing.T, registry string) string {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: v1.Config{Env: []string{"PATH=/usr/local/bin"}}, RootFS: v1.RootFS{Type: "layers"}})
	require.NoError(t, err)
	layer, err := crane.Layer(map[string][]byte{"usr/local/bin/bun": []byte("no program\n")})
	require.NoError(t, err)
	img, err = mutate.AppendLayers(img, layer)
	require.NoError(t, err)
	return pushBase(t, registry, img)
}

func pushBase(t *testing.T, registry string, img v1.Image) string {
	t.Helper()
	digest, err := img.Digest()
	require.NoError(t, err)
	ref, err := name.NewDigest(registry + "/base/bun@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return ref.Name()
}

// run runs one story in a namespace, a repository and an app of its own.
func (g ground) run(t *testing.T, file, config string) {
	namespace := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".txtar"), "_", "-")
	_, err := g.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s := &story{ground: g, t: t, namespace: namespace, config: config}
	testscript.RunT(atOnce{t}, testscript.Params{
		Files:               []string{file},
		RequireExplicitExec: true,
		Setup:               s.setup,
		Deadline:            time.Now().Add(limit),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": s.exits, "becomes": s.becomes, "edit": s.edit, "commit": s.commit, "remove": s.remove, "tag": s.tag,
			"pods": s.pods, "patch": s.patch, "records": s.records, "interrupt": s.interrupt,
			"onhost": s.onHost, "registeritself": s.registerItself, "network": s.network, "field": s.field,
			"keys": s.keys, "alter": s.alter, "hold": s.hold, "login": s.login,
			"listen": s.listen, "deaf": s.deaf,
			"namespace": s.makeNamespace, "user": s.user, "grant": s.grant,
			"dockerbuild": s.dockerBuild, "checkout": s.checkout, "kubectl": s.kubectl, "asbefore": s.asBefore,
		},
	})
}

// atOnce is a test whose script begins at once. A script is a parallel test of its own
// otherwise: it waits for its turn once more, and its time runs meanwhile.
type atOnce struct{ *testing.T }

func (t atOnce) Parallel()     {}
func (t atOnce) Verbose() bool { return testing.Verbose() }

func (t atOnce) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(atOnce{t}) })
}

// story is one script's world.
type story struct {
	ground
	t         *testing.T
	namespace string
	config    string
	repo      *sample.Repo
	listener  *httptest.Server // who is told of releases; nil: nobody
}

func (s *story) setup(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "repo")
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	env.Cd = dir
	s.environment(env)
	if s.adopted {
		s.deployedByHand(env)
		return nil
	}
	s.repo = sample.New(s.t, sample.Options{Dir: dir, Registry: s.registry, Base: s.base, Config: s.config})
	// Repositories are per story, so that no story finds another one's build.
	text := strings.ReplaceAll(s.repo.Read("shipit.yaml"), "namespace: busrig", "namespace: "+s.namespace)
	text = strings.ReplaceAll(text, s.registry+"/busrig/", s.registry+"/"+s.namespace+"/")
	// A story tells of no pod that crashes after it was ready: none need be waited for.
	text = strings.ReplaceAll(text, "    kubernetes:", "    stable: 1ms\n    kubernetes:")
	text = strings.Replace(text, "app: system-bus\n", "app: "+s.namespace+"\n", 1)
	sha := s.repo.Commit("configure", map[string]string{"shipit.yaml": text})
	env.Setenv("V1", sha)
	return nil
}

// environment sets what scripts and the programs that they run read.
func (s *story) environment(env *testscript.Env) {
	env.Setenv("KUBECONFIG", s.kubeconfig)
	env.Setenv("NAMESPACE", s.namespace)
	env.Setenv("REGISTRY", s.registry)
	env.Setenv("BASE", s.base)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("SIGNING_POLICY", "\nsigning: {mode: none, policy: {keys: [cosign.pub], predicates: [signature, provenance]}}")
	env.Setenv("ENVIRONMENTS", strings.NewReplacer("REG", s.registry, "NS", s.namespace).Replace(`
environments:
  staging: {}
  production:
    images: {worker: {repository: REG/NS-production/system-bus-worker}}
    roles: {cluster: {kubernetes: {namespace: NS-production}}}`))
	env.Setenv("NOTIFY", "\nnotify: {webhooks: [{url: 'env:WEBHOOK', secret: WEBHOOK_SECRET}], github: {report: always}}")
	env.Setenv("FOREIGN_POLICY", "\n    signing: {policy: {keys: [foreign.pub]}}")
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("REGISTER", "port: 3111\n    register: {path: /api/inngest}")
	env.Setenv("MANIFESTS", "\n      manifests: [k8s]")
	env.Setenv("MISSING_SECRET", "namespace: "+s.namespace+"\n      envFrom: [not-there]")
	env.Setenv("DEPENDENCIES", s.dependencies)
	env.Setenv("INSTALL", "package: packages/system-bus\n    run: [[pnpm, install, --frozen-lockfile, --prod, --filter, '@busrig/system-bus...']]")
	env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+s.tools)
	if s.host != nil {
		env.Setenv("HOST", s.host.Address)
		env.Setenv("KEY", s.host.Key)
		env.Setenv("KNOWN_HOSTS", s.host.KnownHosts)
	}
}
