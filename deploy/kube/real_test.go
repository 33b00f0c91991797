package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// TestOnARealNode runs what needs real pods on one node: the machine has no other, and it
// takes a while to come up, all the more where another package's tests have it.
func TestOnARealNode(t *testing.T) {
	t.Parallel()
	c, up, digest := realNode(t)
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, c *user, up *cluster.Cluster, digest string)
	}{
		{"the runtime's failures end the wait with their cause", runtimeFailures},
		{"the cause is that of the container that keeps a pod from being ready", containersInTrouble},
		{"a deadline as long as the timeout does not end the way back", deadlineAsLongAsTheTimeout},
		{"what is ready for a while, later or never is told", readyForAWhileOrNever},
		{"an old pod that answers during its preStop is waited for", oldPodInItsPreStop},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // the sooner another package's tests have the node
			tc.run(t, c, up, digest)
		})
	}
}

// realNode brings up a real node, and pushes an image with bun to its registry.
func realNode(t *testing.T) (*user, *cluster.Cluster, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("a real node takes a while to come up, and -short is set")
	}
	if err := cluster.CanRunReal(); err != nil {
		t.Skipf("no real node here: %s", err)
	}
	up, err := cluster.Up(context.Background(), cluster.Options{Real: true, Progress: func(s string) { fmt.Fprintln(os.Stderr, s) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Down(context.Background())) })
	cfg, err := clientcmd.BuildConfigFromFlags("", up.Kubeconfig)
	require.NoError(t, err)
	return newUser(t, cfg), up, push(t, up.Registry, authn.Anonymous)
}

// push gives the digest under which the image with bun is at registry/app.
func push(t *testing.T, registry string, who authn.Authenticator) string {
	t.Helper()
	image, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	digest, err := image.Digest()
	require.NoError(t, err)
	ref, err := name.NewDigest(registry + "/app@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image, remote.WithAuth(who)))
	return digest.String()
}

// program is a Deployment of one pod that runs a line of JavaScript; lines for
// its container can follow. Without its readiness probe a program would count as
// ready until it fails, and Kubernetes take the old pod away.
func program(line string, extra ...string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: $NS, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: $IMAGE
        command: [bun, -e, %q]
        readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: 3111}}
%s`, line, strings.Join(extra, "\n"))
}

const (
	idle      = "setInterval(() => {}, 1000)"
	answering = "Bun.serve({port: 3111, fetch: r => new Response(r.method + ' ' + new URL(r.url).pathname)})"
)

func runtimeFailures(t *testing.T, c *user, up *cluster.Cluster, digest string) {
	ns := namespace(t, c)
	_, err := c.kube.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"token": "hunter22"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	role := func(doc string) release.Role {
		return release.Role{Name: "web", Target: release.TargetKubernetes, Repository: up.Registry + "/app", Digest: digest,
			Objects: roleOf(t, ns, digest, strings.ReplaceAll(doc, "$IMAGE", up.Registry+"/app@"+digest)).Objects}
	}
	good := role(program(answering))
	live, _, err := roll(t, c, good)
	require.NoError(t, err)
	require.Equal(t, []string{digest}, live.Digests, "the runtime reports what was asked for")
	require.Equal(t, 1, live.Ready)

	t.Run("a pod of the role answers", func(t *testing.T) {
		target := &Target{client: c.Client, cfg: config.Config{Roles: config.Roles{{Name: good.Name, Kubernetes: &config.Kubernetes{Namespace: ns}}}}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://web:3111/api/x?y=1", strings.NewReader("z"))
		require.NoError(t, err)
		answer, err := target.Do(t.Context(), good, req)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, 200, answer.StatusCode)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, "PUT /api/x", string(body))
	})

	absent := strings.ReplaceAll(program(answering), "$IMAGE", up.Registry+"/app@"+digestOf("absent"))
	denied := strings.ReplaceAll(program(answering), "$IMAGE", up.AuthRegistry.Registry+"/app@"+digest)
	push(t, up.AuthRegistry.Registry, &authn.Basic{Username: up.AuthRegistry.User, Password: up.AuthRegistry.Password})
	for _, tc := range []struct {
		name, doc, code string
		message         string
		exit            int
		signal, log     string
	}{
		{name: "a digest that the registry lacks", doc: absent, code: "ImageNotFound", message: "not found"},
		{name: "a registry that wants a login", doc: denied, code: "PullDenied"},
		{name: "an image name that is none", doc: strings.ReplaceAll(program(answering), "$IMAGE", `"a b"`), code: "InvalidImageName"},
		{name: "a program that ends twice with the same code, and prints a secret",
			doc:  program("console.error('broken with', process.env.TOKEN); process.exit(3)", "        env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}]"),
			code: "CrashLoop", message: "exit code 3, 2 times", exit: 3, log: "broken with [redacted]"},
		// Bun answers a fault in memory with an illegal instruction of its own.
		{name: "a program that a signal ends", doc: program("process.kill(process.pid, 'SIGSEGV'); setInterval(() => {}, 1000)"), code: "CrashLoop", exit: 132, signal: "SIGILL"},
		{name: "a program that takes too much memory", doc: program("const a = []; for (;;) a.push(new Uint8Array(1e7).fill(1))", "        resources: {limits: {memory: 96Mi}}"),
			code: "OOMKilled", exit: 137, signal: "SIGKILL"},
		{name: "a program that is not in the image", doc: strings.Replace(program(answering), "[bun, ", "[nope, ", 1), code: "StartFailed", message: "nope"},
		{name: "a program that is none", doc: strings.Replace(program(answering, "        volumeMounts: [{name: v, mountPath: /v}]")+"\n      volumes: [{name: v, configMap: {name: kube-root-ca.crt, defaultMode: 0755}}]", "[bun, ", "[/v/ca.crt, ", 1),
			code: "ExecFormat", message: "exec format error"},
		{name: "an init container that ends badly", doc: program(answering) + "\n      initContainers: [{name: first, image: $IMAGE, command: [bun, -e, \"console.log('not today'); process.exit(7)\"]}]",
			code: "InitFailed", message: "container first", exit: 7, log: "not today"},
		{name: "a Secret that is missing", doc: program(answering, "        envFrom: [{secretRef: {name: nope}}]"), code: "SecretMissing", message: `"nope" not found`},
		{name: "a key that its Secret lacks", doc: program(answering, "        env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: nope}}}]"), code: "SecretKeyMissing", message: "nope"},
		{name: "a ConfigMap that is missing, mounted", doc: program(answering, "        volumeMounts: [{name: v, mountPath: /v}]") + "\n      volumes: [{name: v, configMap: {name: nope}}]", code: "ConfigMapMissing", message: `"nope" not found`},
		{name: "a container that would run as root", doc: program(answering, "        securityContext: {runAsNonRoot: true, runAsUser: 0}"), code: "RunsAsRoot", message: "non-root policy"},
		{name: "a liveness probe that kills", doc: program(idle, "        livenessProbe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /, port: 3111}}"), code: "ProbeFailed", message: "Liveness probe failed", signal: "SIGKILL"},
		{name: "a readiness probe that never holds", doc: program(idle, "        startupProbe: {periodSeconds: 1, exec: {command: [bun, --version]}}"), code: "ProbeFailed", message: "Readiness probe failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := role(tc.doc)
			f, took := fail(t, c, bad, 2*time.Minute)
			require.EqualValues(t, tc.code, f.Code)
			require.Contains(t, f.Message, tc.message)
			require.Equal(t, tc.signal, f.Signal)
			require.NotEmpty(t, f.Hint)
			if tc.exit != 0 {
				require.NotNil(t, f.ExitCode)
				require.Equal(t, tc.exit, *f.ExitCode)
			}
			require.Contains(t, strings.Join(f.Log, "\n"), tc.log)
			require.NotContains(t, fmt.Sprintf("%+v", *f), "hunter22")
			require.Less(t, took, time.Minute, "the cause ends it, not the limit")

			live, err := c.Observe(t.Context(), good)
			require.NoError(t, err)
			require.Equal(t, []string{digest}, live.Digests, "the old pod serves on")
			require.Zero(t, live.Ready, "and is of another revision than the one that is asked for now")
		})
	}
	t.Run("what ran before is put back", func(t *testing.T) {
		live, _, err := roll(t, c, good)
		require.NoError(t, err)
		require.Equal(t, 1, live.Ready)
	})
	t.Run("a registry that is away is waited for, and named at the limit", func(t *testing.T) {
		f, _ := failAfter(t, c, role(strings.ReplaceAll(program(answering), "$IMAGE", "127.0.0.1:1/app@"+digest)), 3*time.Second, warned(t, c, ns, "connection refused"))
		require.Equal(t, release.CodeDeadlineExceeded, f.Code)
		require.Contains(t, f.Message, "connection refused")
	})
}
