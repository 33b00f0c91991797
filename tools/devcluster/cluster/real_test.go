//go:build linux

package cluster_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// serve is a bun program that answers with who it runs as.
const serve = `Bun.serve({port: 3111, fetch: () => new Response("bun " + Bun.version + " as " + process.getuid())});`

func needReal(t *testing.T) {
	t.Helper()
	if err := cluster.CanRunReal(); err != nil {
		t.Skip(err)
	}
}

// bunImage pushes a program on the base image and gives its reference by digest.
func bunImage(t *testing.T, registry, program string, auth authn.Authenticator) string {
	t.Helper()
	base, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "app/serve.js", Mode: 0o644, Size: int64(len(program))}))
	_, err = io.WriteString(w, program)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	require.NoError(t, err)
	img, err := mutate.AppendLayers(base, layer)
	require.NoError(t, err)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.Config.Cmd = []string{"bun", "--no-install", "run", "/app/serve.js"}
	img, err = mutate.ConfigFile(img, config)
	require.NoError(t, err)
	digest := digestOf(t, img)
	ref, err := name.NewDigest(registry + "/test/bun@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img, remote.WithAuth(auth)))
	return ref.Name()
}

func digestOf(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	digest, err := img.Digest()
	require.NoError(t, err)
	return digest
}

func probed(image string) corev1.Container {
	c := container(image)
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(3111)}},
		PeriodSeconds: 1,
	}
	return c
}

func TestRealCluster(t *testing.T) {
	needReal(t)
	c := up(t, cluster.Options{Real: true})
	kube := client(t, c)
	image := bunImage(t, c.Registry, serve, authn.Anonymous)

	t.Run("pods with bun, not as root, answer through the API server", func(t *testing.T) {
		deploy(t, kube, "bun", 3, pod("bun", probed(image)))
		for _, p := range awaitPods(t, kube, "bun", allReady(3)) {
			answer, err := kube.CoreV1().Pods("default").ProxyGet("http", p.Name, "3111", "/", nil).DoRaw(t.Context())
			require.NoError(t, err)
			require.Equal(t, "bun "+bunbase.BunVersion+" as 1000", string(answer))
			_, digest, _ := strings.Cut(image, "@")
			require.True(t, strings.HasSuffix(p.Status.ContainerStatuses[0].ImageID, digest))
		}
	})
	t.Run("a crash loop leaves its last log lines", func(t *testing.T) {
		deploy(t, kube, "broken", 1, pod("broken", probed(bunImage(t, c.Registry, `throw new Error("broken on purpose")`, authn.Anonymous))))
		p := awaitPods(t, kube, "broken", waits("CrashLoopBackOff"))[0]
		log, err := kube.CoreV1().Pods("default").GetLogs(p.Name, &corev1.PodLogOptions{Previous: true}).DoRaw(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(log), "broken on purpose")
	})
	t.Run("an image that is not there is not found", func(t *testing.T) {
		deploy(t, kube, "absent", 1, pod("absent", container(c.Registry+"/test/absent:1")))
		awaitPods(t, kube, "absent", waits("ImagePullBackOff"))
	})
	t.Run("an image behind a password is pulled with a secret, and not without", func(t *testing.T) {
		who := c.AuthRegistry
		image := bunImage(t, who.Registry, serve, &authn.Basic{Username: who.User, Password: who.Password})
		deploy(t, kube, "denied", 1, pod("denied", probed(image)))
		awaitPods(t, kube, "denied", waits("ImagePullBackOff"))

		_, err := kube.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "pull"},
			Type:       corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil,
				`{"auths":{%q:{"username":%q,"password":%q}}}`, who.Registry, who.User, who.Password)},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		template := pod("let-in", probed(image))
		template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
		deploy(t, kube, "let-in", 1, template)
		awaitPods(t, kube, "let-in", allReady(1))
	})
	t.Run("pods go on while the API server is away", func(t *testing.T) {
		before := awaitPods(t, kube, "bun", allReady(3))
		require.NoError(t, c.RestartAPIServer(t.Context()))
		require.ElementsMatch(t, uids(before), uids(awaitPods(t, kube, "bun", allReady(3))))
	})
	t.Run("a second one waits for its turn", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		told := false
		_, err := cluster.Up(ctx, cluster.Options{Real: true, Progress: func(line string) {
			if strings.Contains(line, "waiting for the machine's one real node") {
				told = true
				cancel()
			}
		}})
		require.ErrorContains(t, err, fmt.Sprintf("wait for the real node of process %d", os.Getpid()))
		require.True(t, told)
	})
}

// traces lists what a real node could leave on the machine, outside its folder.
func traces(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{
		"/sys/fs/cgroup/shipit-node-*", "/sys/fs/cgroup/*/shipit-node-*", "/sys/fs/cgroup/*/kubepods", "/run/netns/cni-*", "/run/shipit-real-node*",
		"/run/containerd", "/run/runc", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
	} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		found = append(found, paths...)
	}
	if link, err := net.InterfaceByName("shipit0"); err == nil {
		found = append(found, "link "+link.Name)
	}
	for _, file := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"} {
		text, err := os.ReadFile("/proc/sys/" + file)
		require.NoError(t, err)
		found = append(found, file+" "+strings.TrimSpace(string(text)))
	}
	return found
}

func TestARealNodeLeavesNothing(t *testing.T) {
	needReal(t)
	before := traces(t)
	run := func(t *testing.T, c *cluster.Cluster) {
		kube := client(t, c)
		deploy(t, kube, "bun", 2, pod("bun", probed(bunImage(t, c.Registry, serve, authn.Anonymous))))
		awaitPods(t, kube, "bun", allReady(2))
	}
	t.Run("after down", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cluster")
		c, err := cluster.Up(t.Context(), cluster.Options{Dir: dir, Real: true})
		require.NoError(t, err)
		run(t, c)
		require.NotEqual(t, before, traces(t), "the traces would be seen")
		require.NoError(t, c.Down(context.Background()))
		require.Equal(t, before, traces(t))
		require.Empty(t, processesOf(t, dir))
		require.NoDirExists(t, dir)
	})
	t.Run("after it was killed and its folder removed by hand", func(t *testing.T) {
		require.NoError(t, os.RemoveAll(killedUp(t, filepath.Join(t.TempDir(), "old"), "SHIPIT_TEST_REAL=1")))
		c, err := cluster.Up(t.Context(), cluster.Options{Real: true})
		require.NoError(t, err)
		require.NoError(t, c.Down(context.Background()))
		require.Equal(t, before, traces(t))
	})
	t.Run("after it was killed, its processes at once, the rest by the next up", func(t *testing.T) {
		old := filepath.Join(t.TempDir(), "old")
		killedUp(t, old, "SHIPIT_TEST_REAL=1")
		require.Eventually(t, func() bool { return len(processesOf(t, old)) == 0 }, time.Minute, 20*time.Millisecond)
		c, err := cluster.Up(t.Context(), cluster.Options{Real: true})
		require.NoError(t, err)
		require.NoDirExists(t, old)
		run(t, c)
		require.NoError(t, c.Down(context.Background()))
		require.Equal(t, before, traces(t))
	})
}

func TestARealClusterOfSeveralNodesIsRefused(t *testing.T) {
	if err := cluster.CanRunReal(); err != nil {
		t.Skip("a real node cannot run here: " + err.Error())
	}
	_, err := cluster.Up(t.Context(), cluster.Options{Real: true, Nodes: 2})
	require.ErrorContains(t, err, "a real cluster has one node, not 2")
}
