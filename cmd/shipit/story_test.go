package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/target/kube"
	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"shipit": main})
}

// ground is what the stories of one test stand on.
type ground struct {
	kubeconfig string
	registry   string
	base       string // a base image in the registry, by digest
	client     kubernetes.Interface
	host       *devhost.Host // nil where a story has no host

	tools        string // folder of pnpm, for stories that install
	dependencies string // folder with a worker's files that has 200 packages from npm
}

// TestStories runs every story against a real API server, real controllers and
// a real registry; pods are simulated by kwok, so no code of an image runs here.
func TestStories(t *testing.T) {
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

// TestStoriesOnRealPods runs stories on a real kubelet, containerd and registry,
// where the worker is run by bun.
func TestStoriesOnRealPods(t *testing.T) {
	g := real(t)
	for _, file := range []string{"main-job", "equal-bits", "interrupt", "real/non-root", "real/npm"} {
		t.Run(file, func(t *testing.T) { g.run(t, "testdata/stories/"+file+".txtar", "") })
	}
}

// real brings up a node with a real kubelet, and a registry with an image that holds bun.
func real(t *testing.T) ground {
	t.Helper()
	if testing.Short() {
		t.Skip("a real node takes time; -short leaves it out")
	}
	if err := cluster.CanRunReal(); err != nil {
		t.Skip("real pods cannot run here: " + err.Error())
	}
	c, err := cluster.Up(t.Context(), cluster.Options{Real: true, Progress: progressOf(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(context.Background())) })
	bun, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	pnpm, err := bunbase.PNPM(t.Context())
	require.NoError(t, err)
	dependencies, err := filepath.Abs("../../pipeline/testdata/dependencies")
	require.NoError(t, err)
	return ground{tools: filepath.Dir(pnpm), dependencies: dependencies, kubeconfig: c.Kubeconfig, registry: c.Registry, base: pushBase(t, c.Registry, bun), client: clientOf(t, c.Kubeconfig)}
}

// TestStoriesOnHosts runs stories over three roles: a worker in a real pod, and a
// worker and the gateway as services of a real systemd, reached over SSH.
func TestStoriesOnHosts(t *testing.T) {
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	g := real(t)
	bun, err := bunbase.Bun(t.Context())
	require.NoError(t, err)
	for _, story := range []string{"three-roles", "by-hand"} {
		t.Run(story, func(t *testing.T) {
			h, err := devhost.Up(t.Context(), devhost.Options{Files: map[string]string{"/usr/local/bin/bun": bun}, Progress: progressOf(t)})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, h.Down()) })
			g.host = h
			config, err := os.ReadFile("testdata/stories/hosts/shipit.yaml")
			require.NoError(t, err)
			fill := strings.NewReplacer("${HOST}", h.Address, "${KEY}", h.Key, "${KNOWN_HOSTS}", h.KnownHosts, "${ROOT}", h.Root)
			g.run(t, "testdata/stories/hosts/"+story+".txtar", fill.Replace(string(config)))
		})
	}
}

// simulated brings up a control plane with simulated nodes, and a registry.
func simulated(t *testing.T) ground {
	t.Helper()
	c, err := cluster.Up(t.Context(), cluster.Options{Progress: progressOf(t), Pods: http.HandlerFunc(answerLikeWorker)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(context.Background())) })
	addr, shut, err := cluster.Registry(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(shut)
	return ground{kubeconfig: c.Kubeconfig, registry: addr, base: emptyBase(t, addr), client: clientOf(t, c.Kubeconfig)}
}

// answerLikeWorker is what the sample's worker answers on GET /. No worker runs in
// a simulated pod: this proves shipit's way to a pod and its probes, no image.
func answerLikeWorker(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
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
	testscript.Run(t, testscript.Params{
		Files:               []string{file},
		RequireExplicitExec: true,
		Setup:               s.setup,
		Deadline:            time.Now().Add(3 * time.Minute),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": s.exits, "edit": s.edit, "commit": s.commit, "remove": s.remove, "tag": s.tag,
			"pods": s.pods, "patch": s.patch, "records": s.records, "interrupt": s.interrupt,
			"onhost": s.onHost, "network": s.network, "field": s.field,
			"keys": s.keys, "alter": s.alter, "hold": s.hold, "login": s.login,
			"user": s.user, "grant": s.grant,
		},
	})
}

// story is one script's world.
type story struct {
	ground
	t         *testing.T
	namespace string
	config    string
	repo      *sample.Repo
}

func (s *story) setup(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "repo")
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	s.repo = sample.New(s.t, sample.Options{Dir: dir, Registry: s.registry, Base: s.base, Config: s.config})
	// Repositories are per story, so that no story finds another one's build.
	text := strings.ReplaceAll(s.repo.Read("shipit.yaml"), "namespace: busrig", "namespace: "+s.namespace)
	text = strings.ReplaceAll(text, s.registry+"/busrig/", s.registry+"/"+s.namespace+"/")
	sha := s.repo.Commit("configure", map[string]string{"shipit.yaml": text})
	env.Setenv("V1", sha)
	env.Setenv("KUBECONFIG", s.kubeconfig)
	env.Setenv("NAMESPACE", s.namespace)
	env.Setenv("REGISTRY", s.registry)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("SIGNING_POLICY", "\nsigning: {mode: none, policy: {keys: [cosign.pub], predicates: [signature, provenance]}}")
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("DEPENDENCIES", s.dependencies)
	env.Setenv("INSTALL", "package: packages/system-bus\n    run: [[pnpm, install, --frozen-lockfile, --prod, --filter, '@busrig/system-bus...']]")
	env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+s.tools)
	env.Cd = dir
	return nil
}

// exits CODE COMMAND…: runs a command and checks its exit code.
func (s *story) exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if (got == want) == neg {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// edit FILE OLD NEW: replaces text that stands once.
func (s *story) edit(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(path)
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%q stands %d times in %s", args[1], strings.Count(text, args[1]), args[0])
	}
	ts.Check(os.WriteFile(path, []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}

// commit VAR: commits all edits and sets VAR to the commit's SHA.
func (s *story) commit(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], s.repo.Commit(args[0], nil))
}

func (s *story) remove(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.RemoveAll(ts.MkAbs(args[0])))
}

func (s *story) tag(_ *testscript.TestScript, _ bool, args []string) { s.repo.Tag(args[0]) }

// pods FILE: writes the name, UID and image of every pod that is not going away.
func (s *story) pods(ts *testscript.TestScript, _ bool, args []string) {
	list, err := s.client.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
	ts.Check(err)
	var b strings.Builder
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			fmt.Fprintf(&b, "%s %s %s\n", p.Name, p.UID, p.Spec.Containers[0].Image)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// patch DEPLOYMENT JSON: a strategic merge patch by another hand.
func (s *story) patch(ts *testscript.TestScript, _ bool, args []string) {
	_, err := s.client.AppsV1().Deployments(s.namespace).Patch(context.Background(), args[0], apitypes.StrategicMergePatchType, []byte(args[1]), metav1.PatchOptions{FieldManager: "somebody"})
	ts.Check(err)
}

// records LINE…: the whole ledger, oldest first, is these lines: seq kind sha outcome parity.
func (s *story) records(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("shipit", "history", "-o", "json"))
	var doc struct{ Records []release.Record }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc))
	var got []string
	for i := len(doc.Records) - 1; i >= 0; i-- {
		r := doc.Records[i]
		got = append(got, fmt.Sprintf("%d %s %s %s %t", r.Seq, r.Kind, r.SHA, r.Outcome, r.Parity))
	}
	if strings.Join(got, "\n") != strings.Join(args, "\n") {
		ts.Fatalf("the records are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(args, "\n"))
	}
}

// field PATH WANT: one field of all pods, as JSON path segments, is WANT.
func (s *story) field(ts *testscript.TestScript, _ bool, args []string) {
	list, err := s.client.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
	ts.Check(err)
	if len(list.Items) == 0 {
		ts.Fatalf("there are no pods")
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil {
			continue
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&p)
		ts.Check(err)
		got, _, err := unstructured.NestedFieldNoCopy(fields, strings.Split(args[0], ".")...)
		ts.Check(err)
		if fmt.Sprint(got) != args[1] {
			ts.Fatalf("%s of %s is %v, want %s", args[0], p.Name, got, args[1])
		}
	}
}

// keys PRIVATE PUBLIC: makes a key pair; its password is "secret".
func (s *story) keys(ts *testscript.TestScript, _ bool, args []string) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pair.PrivateBytes, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pair.PublicBytes, 0o644))
}

// alter SEQ OLD NEW: changes a record in the cluster. It is immutable, so it is
// deleted and made again, as an attacker would.
func (s *story) alter(ts *testscript.TestScript, _ bool, args []string) {
	ctx, maps := context.Background(), s.client.CoreV1().ConfigMaps(s.namespace)
	list, err := maps.List(ctx, metav1.ListOptions{})
	ts.Check(err)
	for _, m := range list.Items {
		seq, _ := strconv.Atoi(args[0])
		if !strings.HasSuffix(m.Name, fmt.Sprintf("-%06d", seq)) {
			continue
		}
		if !strings.Contains(m.Data["record"], args[1]) {
			ts.Fatalf("%q does not stand in record %s: %s", args[1], args[0], m.Data["record"])
		}
		m.Data["record"] = strings.ReplaceAll(m.Data["record"], args[1], args[2])
		m.ResourceVersion, m.UID = "", ""
		ts.Check(maps.Delete(ctx, m.Name, metav1.DeleteOptions{}))
		_, err := maps.Create(ctx, &m, metav1.CreateOptions{})
		ts.Check(err)
		return
	}
	ts.Fatalf("there is no record %s", args[0])
}

// hold: another run takes the lock and keeps it until the story ends.
func (s *story) hold(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := kube.Connect(kube.Options{Kubeconfig: s.kubeconfig})
	ts.Check(err)
	l := ledger.New(kube.NewStore(c, s.namespace, "system-bus"), "system-bus", ledger.Options{})
	lock, err := l.Lock(context.Background(), ledger.LockOptions{Holder: "somebody@elsewhere"})
	ts.Check(err)
	ts.Defer(func() { _ = lock.Release(context.Background()) })
}

// user FILE: a kubeconfig of a service account that may do nothing.
func (s *story) user(ts *testscript.TestScript, _ bool, args []string) {
	ctx, accounts := context.Background(), s.client.CoreV1().ServiceAccounts(s.namespace)
	_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{})
	ts.Check(err)
	token, err := accounts.CreateToken(ctx, "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	ts.Check(err)
	cfg, err := clientcmd.LoadFromFile(s.kubeconfig)
	ts.Check(err)
	for _, user := range cfg.AuthInfos {
		*user = *clientcmdapi.NewAuthInfo()
		user.Token = token.Status.Token
	}
	ts.Check(clientcmd.WriteToFile(*cfg, ts.MkAbs(args[0])))
}

// grant FILE: makes the Roles of a YAML file and binds them to that account.
func (s *story) grant(ts *testscript.TestScript, _ bool, args []string) {
	ctx, rbac := context.Background(), s.client.RbacV1()
	for _, doc := range strings.Split(ts.ReadFile(args[0]), "\n---\n") {
		var role rbacv1.Role
		ts.Check(yaml.Unmarshal([]byte(doc), &role))
		if role.Kind != "Role" {
			continue
		}
		_, err := rbac.Roles(role.Namespace).Create(ctx, &role, metav1.CreateOptions{})
		ts.Check(err)
		_, err = rbac.RoleBindings(role.Namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "deployer", Namespace: s.namespace}},
		}, metav1.CreateOptions{})
		ts.Check(err)
	}
}

// login VAR: a registry that wants the password "secret" of "user"; VAR is its address.
func (s *story) login(ts *testscript.TestScript, _ bool, args []string) {
	addr, shut, err := cluster.RegistryWithLogin(context.Background(), s.t.TempDir(), cluster.Login{User: "user", Password: "secret"})
	ts.Check(err)
	ts.Defer(shut)
	ts.Setenv(args[0], addr)
}

// onhost COMMAND…: runs a command on the host; what it prints becomes stdout.
func (s *story) onHost(ts *testscript.TestScript, neg bool, args []string) {
	out, err := s.host.Exec(context.Background(), args...)
	if (err != nil) != neg {
		ts.Fatalf("on the host: %v: %s", err, out)
	}
	_, _ = fmt.Fprint(ts.Stdout(), out)
}

// network cut|heal: takes the host's network away, or gives it back.
func (s *story) network(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "cut" {
		ts.Check(s.host.Cut(context.Background()))
		return
	}
	ts.Check(s.host.Heal(context.Background()))
}

// interrupt TEXT CODE COMMAND…: runs a command, sends SIGINT when its stderr says
// TEXT, and checks the exit code; for the code "killed" it sends SIGKILL.
func (s *story) interrupt(ts *testscript.TestScript, _ bool, args []string) {
	var path string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, args[2])); err == nil {
			path = filepath.Join(dir, args[2])
			break
		}
	}
	signal, want := os.Interrupt, args[1]
	if args[1] == "killed" {
		signal, want = os.Kill, "-1"
	}
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig, "HOME="+ts.Getenv("HOME"), "XDG_CACHE_HOME="+ts.Getenv("XDG_CACHE_HOME"), "PATH="+ts.Getenv("PATH"))
	w := &awaited{text: args[0], seen: func() { ts.Check(cmd.Process.Signal(signal)) }}
	cmd.Stderr = w
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != want {
		ts.Fatalf("ended with %v, want exit code %s; it said\n%s", err, args[1], w.all.String())
	}
}

// awaited calls seen once when text has been written to it.
type awaited struct {
	text string
	seen func()
	all  strings.Builder
}

func (w *awaited) Write(p []byte) (int, error) {
	w.all.Write(p)
	if w.seen != nil && strings.Contains(w.all.String(), w.text) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}
