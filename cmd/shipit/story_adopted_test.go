package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/joelhooks/shipit/internal/sample"
)

// deployedByHand makes the sample of a repository that is deployed by hand. What it
// names of docker.io and ghcr.io is in a registry with a password, which the user knows.
func (s *story) deployedByHand(env *testscript.Env) {
	s.repo = sample.New(s.t, sample.Options{Dir: env.Cd, Overlay: "by-hand"})
	fill := strings.NewReplacer("docker.io/", s.private.Registry+"/", "ghcr.io/busrig/", s.private.Registry+"/"+s.namespace+"/", "namespace: busrig", "namespace: "+s.namespace)
	edits := map[string]string{}
	for _, file := range []string{"packages/system-bus/Dockerfile", "k8s/system-bus-worker.yaml", ".github/workflows/system-bus-worker-deploy.yml"} {
		edits[file] = fill.Replace(s.repo.Read(file))
	}
	for _, name := range []string{"HTTPS_PROXY", "NO_PROXY", "NODE_EXTRA_CA_CERTS", "npm_config_registry"} {
		env.Setenv(name, os.Getenv(name)) // pnpm asks the registry of packages as this user does
	}
	env.Setenv("V1", s.repo.Commit("the registry and the namespace of the tests", edits))
	auth := authn.FromConfig(authn.AuthConfig{Username: s.private.User, Password: s.private.Password})
	base, err := crane.Pull(s.base)
	require.NoError(s.t, err)
	require.NoError(s.t, crane.Push(base, s.private.Registry+"/oven/bun:1.3.9", crane.WithAuth(auth)))
	env.Setenv("REGISTRY", s.private.Registry)
	text, err := json.Marshal(map[string]any{"auths": map[string]any{s.private.Registry: map[string]string{"username": s.private.User, "password": s.private.Password}}})
	require.NoError(s.t, err)
	require.NoError(s.t, os.MkdirAll(filepath.Join(env.WorkDir, ".docker"), 0o755))
	require.NoError(s.t, os.WriteFile(filepath.Join(env.WorkDir, ".docker", "config.json"), text, 0o600))
	secret, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "ghcr-pull"},
		"type": "kubernetes.io/dockerconfigjson", "stringData": map[string]string{".dockerconfigjson": string(text)},
	})
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(env.WorkDir, "pull-secret.yaml"), secret, 0o600))
}

// dockerbuild IMAGE: what docker would build of the repository by its Dockerfile, and
// push: the base, and the repository with what pnpm installs at /app.
func (s *story) dockerBuild(ts *testscript.TestScript, _ bool, args []string) {
	auth := authn.FromConfig(authn.AuthConfig{Username: s.private.User, Password: s.private.Password})
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	base, err := crane.Pull(s.base)
	ts.Check(err)
	content, err := archive(s.checkedOut(ts), "app")
	ts.Check(err)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	ts.Check(err)
	img, err := mutate.AppendLayers(base, layer)
	ts.Check(err)
	config, err := img.ConfigFile()
	ts.Check(err)
	config.Created = v1.Time{Time: time.Now()}
	config.Config.WorkingDir, config.Config.Entrypoint, config.Config.Cmd = "/app/packages/system-bus", nil, []string{"bun", "run", "src/serve.ts"}
	config.Config.Env = append(config.Config.Env, "NODE_ENV=production", "WORKER_ROLE=cluster")
	img, err = mutate.ConfigFile(img, config)
	ts.Check(err)
	ts.Check(remote.Write(ref, img, remote.WithAuth(auth)))
}

// checkout PATH: the repository on the host, with what pnpm installs.
func (s *story) checkout(ts *testscript.TestScript, _ bool, args []string) {
	content, err := archive(s.checkedOut(ts), strings.TrimPrefix(args[0], "/"))
	ts.Check(err)
	cmd := exec.Command("ssh", "-i", s.host.Key, "-o", "UserKnownHostsFile="+s.host.KnownHosts, "-o", "BatchMode=yes", s.host.Address, "tar", "-xf", "-", "-C", "/")
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("copy the checkout: %v: %s", err, out)
	}
}

// checkedOut is a clone of the repository in which pnpm has installed.
func (s *story) checkedOut(ts *testscript.TestScript) string {
	dir := ts.MkAbs(filepath.Join("..", "checkout"))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	ts.Check(ts.Exec("git", "clone", "-q", ".", dir))
	ts.Check(ts.Exec("pnpm", "--dir", dir, "install", "--frozen-lockfile", "--ignore-scripts"))
	return dir
}

// archive is a tar of a folder's files below a name, of root.
func archive(dir, below string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" {
			if err == nil && d.IsDir() {
				err = fs.SkipDir
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			link, _ = os.Readlink(path)
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		header.Name, header.Uid, header.Gid, header.Uname, header.Gname = filepath.Join(below, rel), 0, 0, "", ""
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// kubectl apply FILE | rollout DEPLOYMENT: what kubectl does: it makes the objects of a
// file, under its field manager and with its note of what was applied; or waits until a
// Deployment's pods are ready.
func (s *story) kubectl(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "rollout" {
		s.rolledOut(ts, args[1])
		return
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	ts.Check(err)
	client, err := dynamic.NewForConfig(config)
	ts.Check(err)
	for _, doc := range strings.Split(ts.ReadFile(args[1]), "\n---\n") {
		var u unstructured.Unstructured
		ts.Check(yaml.Unmarshal([]byte(doc), &u.Object))
		last, err := json.Marshal(u.Object)
		ts.Check(err)
		u.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(last) + "\n"})
		kind := schema.GroupVersionKind{Group: u.GroupVersionKind().Group, Version: u.GroupVersionKind().Version, Kind: u.GetKind()}
		resource := kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s")
		_, err = client.Resource(resource).Namespace(s.namespace).Create(context.Background(), &u, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
		ts.Check(err)
	}
}

func (s *story) rolledOut(ts *testscript.TestScript, deployment string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	watch, err := s.client.AppsV1().Deployments(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + deployment})
	ts.Check(err)
	defer watch.Stop()
	for event := range watch.ResultChan() {
		object, err := json.Marshal(event.Object)
		ts.Check(err)
		var d struct {
			Metadata struct{ Generation int64 }
			Status   struct{ ObservedGeneration, UpdatedReplicas, ReadyReplicas, Replicas int64 }
		}
		ts.Check(json.Unmarshal(object, &d))
		if st := d.Status; st.ObservedGeneration >= d.Metadata.Generation && st.Replicas > 0 && st.UpdatedReplicas == st.Replicas && st.ReadyReplicas == st.Replicas {
			return
		}
	}
	ts.Fatalf("%s is not ready in three minutes", deployment)
}

// asbefore: what runs is what ran before shipit came: the image that docker built, and
// units and processes of the checkout, which start with the machine.
func (s *story) asBefore(ts *testscript.TestScript, _ bool, _ []string) {
	s.rolledOut(ts, "system-bus-worker")
	s.field(ts, false, []string{"status.phase", "Running"})
	pods, err := s.client.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
	ts.Check(err)
	for _, p := range pods.Items {
		if image := p.Spec.Containers[0].Image; p.DeletionTimestamp == nil && !strings.HasSuffix(image, "/system-bus-worker:20251224-181503") {
			ts.Fatalf("pod %s runs %s", p.Name, image)
		}
	}
	for unit, folder := range map[string]string{"system-bus-worker": "/srv/busrig/packages/system-bus", "gateway": "/srv/busrig/packages/gateway"} {
		s.onHost(ts, false, []string{"cmp", "/srv/busrig/infra/systemd/" + unit + ".service", "/etc/systemd/system/" + unit + ".service"})
		s.onHost(ts, false, []string{"systemctl", "is-active", unit})
		s.onHost(ts, false, []string{"systemctl", "is-enabled", unit})
		s.onHost(ts, false, []string{"sh", "-c", `test "$(readlink /proc/$(systemctl show --value -p MainPID ` + unit + `)/cwd)" = ` + folder})
	}
}

// limit is how long a story may take: one of the longest has seven rollouts of three
// roles, two minutes where nothing else runs. It is there to end one that hangs.
const limit = 15 * time.Minute
