package workflows

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rhysd/actionlint"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// shop is a monorepo that ships itself by ship.yml, and what it ships to.
type shop struct {
	t        *testing.T
	repo     *sample.Repo
	workflow *actionlint.Workflow
	bin      string
	secrets  map[string]string
}

// TestShip runs the scripts of ship.yml against a real registry, a real API
// server and its controllers. Pods are simulated by kwok, so no code of an image
// runs here; the stories of cmd/shipit run it.
func TestShip(t *testing.T) {
	if testing.Short() {
		t.Skip("ships to a control plane; -short leaves it out")
	}
	s := newShop(t)
	var first string

	// The steps build on each other as commits on a branch do.
	t.Run("a good commit is built by one job, published by the next and deployed by the last", func(t *testing.T) {
		first = s.commit("sign", "timeout: 2m", "timeout: 2m\nsigning: {mode: key, key: \"env:COSIGN_KEY\"}")
		r := s.runner(t, first)
		build := r.run("build", s.workflow.Jobs["build"])
		require.Zero(t, build["check"].code, build["check"].log)
		require.Zero(t, build["build"].code, build["build"].log)
		require.NotContains(t, build["build"].log, "pushed worker", "the job that runs code of the repository pushes nothing")
		publish := r.run("publish", s.workflow.Jobs["publish"])
		require.Zero(t, publish["publish"].code, publish["publish"].log)
		require.Contains(t, publish["publish"].log, "signed worker")
		r.onStep = func(step string) {
			if step == "release" {
				require.FileExists(t, filepath.Join(r.temp, "kubeconfig"))
				require.Equal(t, os.FileMode(0o600), mode(t, filepath.Join(r.temp, "kubeconfig")))
			}
		}
		deploy := r.run("deploy", s.workflow.Jobs["deploy"])
		got := deploy["release"]
		require.Zero(t, got.code, got.log)
		record := s.record(r)
		require.Equal(t, map[string]string{
			"sha": first, "version": record.Version, "seq": "1", "parity": "true", "outcome": "settled", "digest": record.Roles[0].Digest,
		}, s.outputs(r))
		require.Equal(t, record.Roles[0].Digest, got.outputs["digest-cluster"])
		require.Contains(t, publish["publish"].log, "@"+record.Roles[0].Digest+"\n", "the publish job published what runs")
		require.NotContains(t, got.log, "::error")
		require.Len(t, r.told, 5, "a deployment, its two states, and two of the commit")
		require.Contains(t, r.told[0], "Bearer a-token /repos/busrig/busrig/deployments {\"ref\":\""+first+"\"")
		require.Contains(t, r.told[4], "/repos/busrig/busrig/statuses/"+first+` {"state":"success","target_url":"https://github.com/busrig/busrig/actions/runs/7"`)
		require.Contains(t, got.summary, "✅ system-bus release #1")
		require.Contains(t, got.summary, "| cluster | kubernetes | `"+release.ShortDigest(record.Roles[0].Digest)+"` |")
		require.Regexp(t, `took \d`, got.summary)
		require.Contains(t, read(t, filepath.Join(r.temp, "shipit-report.html")), `"text":"cluster ready"`)
		require.Zero(t, deploy["remove credentials"].code)
		require.NoFileExists(t, filepath.Join(r.temp, "kubeconfig"))
	})

	t.Run("a commit that crashes fails the job, says why, and the one before runs again", func(t *testing.T) {
		r := s.runner(t, s.commit("crash", `FIXTURE_FAULT: ""`, "FIXTURE_FAULT: crash-on-boot"))
		deploy := r.run("deploy", s.workflow.Jobs["deploy"])
		got := deploy["release"]
		require.Equal(t, 5, got.code, got.log)
		out := s.outputs(r)
		require.Equal(t, []string{"2", "false", "restored"}, []string{out["seq"], out["parity"], out["outcome"]})
		require.Regexp(t, `(?m)^::error title=shipit release restored::.*CrashLoop`, got.log)
		require.Contains(t, got.summary, "❌ system-bus release #2")
		require.Contains(t, got.summary, "### ❌ CrashLoop")
		require.Equal(t, release.Restored, s.record(r).Outcome)
		require.NoFileExists(t, filepath.Join(r.temp, "kubeconfig"), "credentials go also after a failure")
		require.Contains(t, read(t, filepath.Join(r.temp, "shipit-events.jsonl")), `"phase":"restore"`)
		require.Contains(t, read(t, filepath.Join(r.temp, "shipit-report.html")), `"code":"CrashLoop"`)
	})

	t.Run("a job that is cancelled leaves a pending record", func(t *testing.T) {
		r := s.runner(t, s.commit("hang", "FIXTURE_FAULT: crash-on-boot", "FIXTURE_FAULT: never-healthy"))
		r.cancelAt = "wait for the new revision"
		got := r.run("deploy", s.workflow.Jobs["deploy"])["release"]
		require.Equal(t, 130, got.code, got.log)
		require.Equal(t, "pending", s.outputs(r)["outcome"])
		require.Contains(t, got.log, "::error title=shipit release pending::")
	})

	t.Run("what is refused before anything changes is annotated and has an outcome", func(t *testing.T) {
		r := s.runner(t, s.commit("nowhere", "namespace: shop", "namespace: not-there"))
		got := r.run("deploy", s.workflow.Jobs["deploy"])["release"]
		require.Equal(t, 3, got.code, got.log)
		require.Equal(t, "refused", s.outputs(r)["outcome"])
		require.Regexp(t, `(?m)^::error title=shipit release .*not-there`, got.log)
		require.Contains(t, got.summary, "❌ shipit release")
		require.Equal(t, release.Refused, s.record(r).Outcome)
	})

	t.Run("an environment of shipit.yaml is laid over the rest", func(t *testing.T) {
		sha := s.commit("environments", "timeout: 2m", "environments: {production: {roles: {cluster: {kubernetes: {namespace: shop-production}, env: {FIXTURE_FAULT: \"\"}}}}}\ntimeout: 2m")
		r := s.runner(t, sha)
		r.context["inputs.environment"] = "production"
		got := r.run("deploy", s.workflow.Jobs["deploy"])["release"]
		require.Zero(t, got.code, got.log)
		require.Equal(t, sha, s.outputs(r)["sha"])
	})

	t.Run("the check stops the build at the line that is wrong", func(t *testing.T) {
		s.repo.Commit("filter", map[string]string{".github/workflows/ship.yml": "on:\n  push:\n    paths:\n      - shipit.yaml\n"})
		r := s.runner(t, s.commit("name it", "timeout: 2m", "timeout: 2m\ncheck: {workflow: .github/workflows/ship.yml}"))
		build := r.run("build", s.workflow.Jobs["build"])
		require.Equal(t, 2, build["check"].code, build["check"].log)
		require.Contains(t, build["check"].log, "::error file=.github/workflows/ship.yml,line=4,title=shipit check WorkflowPaths::")
		require.Contains(t, build["check"].log, "packages/system-bus, pnpm-lock.yaml or pnpm-workspace.yaml does not start it")
		require.Contains(t, build["check"].summary, "packages/system-bus")
		require.NotContains(t, build, "build", "nothing is built after a check that failed")
	})
}

// An agent holds the key for the steps between, and is gone after the job.
func TestShipHandsTheSSHKeyToAnAgent(t *testing.T) {
	for _, tool := range []string{"ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	workflow := parse(t, read(t, root+"/.github/workflows/ship.yml"))
	job := *workflow.Jobs["deploy"]
	for i, step := range job.Steps {
		if step.Name != nil && step.Name.Value == "release" {
			asks := *step
			asks.Exec = &actionlint.ExecRun{Run: &actionlint.String{Value: `ssh-add -l; ls -A "$RUNNER_TEMP"`}}
			job.Steps[i] = &asks
		}
	}
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "deploy")
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)

	t.Run("a good key", func(t *testing.T) {
		r := newRunner(t, map[string]string{"ssh-key": string(pem.EncodeToMemory(block))})
		got := r.run("deploy", &job)
		require.Zero(t, got["credentials"].code, got["credentials"].log)
		require.Contains(t, got["release"].log, ssh.FingerprintSHA256(signer.PublicKey()))
		require.NotContains(t, got["release"].log, "ssh-key", "the key is in no file")
		require.Zero(t, got["remove credentials"].code, got["remove credentials"].log)
		noAgent(t, r)
	})
	t.Run("a key that is none fails the job and leaves no agent", func(t *testing.T) {
		r := newRunner(t, map[string]string{"ssh-key": "nonsense"})
		got := r.run("deploy", &job)
		require.NotZero(t, got["credentials"].code)
		require.NotContains(t, got, "release")
		require.Zero(t, got["remove credentials"].code, got["remove credentials"].log)
		noAgent(t, r)
	})
}

// noAgent waits until nobody answers where the job's agent did.
func noAgent(t *testing.T, r *runner) {
	t.Helper()
	socket := r.carried["SSH_AUTH_SOCK"]
	require.NotEmpty(t, socket, "there was an agent")
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, 10*time.Millisecond, "the agent of %s still answers", socket)
}

func newShop(t *testing.T) *shop {
	t.Helper()
	progress := func(line string) { fmt.Fprintf(os.Stderr, "%s: %s\n", t.Name(), line) }
	c, err := cluster.Up(t.Context(), cluster.Options{Progress: progress, Pods: http.HandlerFunc(answerLikeWorker)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(context.Background())) })
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	for _, namespace := range []string{"shop", "shop-production"} {
		_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	registry, shut, err := cluster.Registry(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(shut)

	keys, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	repo := sample.New(t, sample.Options{Registry: registry, Base: emptyBase(t, registry)})
	repo.Commit("configure", map[string]string{"shipit.yaml": strings.ReplaceAll(repo.Read("shipit.yaml"), "namespace: busrig", "namespace: shop")})
	return &shop{
		t: t, repo: repo, bin: shipit(t), workflow: parse(t, read(t, root+"/.github/workflows/ship.yml")),
		secrets: map[string]string{"kubeconfig": read(t, c.Kubeconfig), "cosign-key": string(keys.PrivateBytes), "cosign-password": "secret"},
	}
}

// answerLikeWorker is what the sample's worker answers; no worker runs in a
// simulated pod.
func answerLikeWorker(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"functions":["task-created"],"count":1,"worker":{"role":"cluster"}}`)
}

// emptyBase pushes a base image whose bun does nothing: enough where no code runs.
func emptyBase(t *testing.T, registry string) string {
	t.Helper()
	layer, err := crane.Layer(map[string][]byte{"usr/local/bin/bun": []byte("no program\n")})
	require.NoError(t, err)
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	require.NoError(t, err)
	file, err := img.ConfigFile()
	require.NoError(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config.Env = "linux", "amd64", []string{"PATH=/usr/local/bin"}
	img, err = mutate.ConfigFile(img, file)
	require.NoError(t, err)
	digest, err := img.Digest()
	require.NoError(t, err)
	ref, err := name.NewDigest(registry + "/base/bun@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return ref.Name()
}

// commit replaces text that stands once in shipit.yaml, and returns the commit.
func (s *shop) commit(msg, before, after string) string {
	text := s.repo.Read("shipit.yaml")
	require.Equal(s.t, 1, strings.Count(text, before), before)
	return s.repo.Commit(msg, map[string]string{"shipit.yaml": strings.Replace(text, before, after, 1)})
}

// runner has fresh machines for a call of ship.yml with that commit.
func (s *shop) runner(t *testing.T, sha string) *runner {
	r := newRunner(t, s.secrets)
	r.dir, r.bin, r.context["inputs.rev"] = s.repo.Dir, s.bin, sha
	return r
}

func newRunner(t *testing.T, secrets map[string]string) *runner {
	r := &runner{t: t, dir: t.TempDir(), temp: t.TempDir(), bin: t.TempDir(), context: map[string]string{
		"inputs.rev": "HEAD", "inputs.shipit": "built-here", "inputs.environment": "", "inputs.timeout": "10m", "github.token": "a-token",
		"secrets.kubeconfig": "", "secrets.ssh-key": "", "secrets.cosign-key": "", "secrets.cosign-password": "",
		"secrets.webhook-url": "", "secrets.webhook-secret": "",
	}}
	r.hub = newHub(t, &r.told)
	for k, v := range secrets {
		r.context["secrets."+k] = v
	}
	return r
}

// newHub stands in for GitHub's API: it takes everything, and adds a line to told for each
// request that changes something.
func newHub(t *testing.T, told *[]string) string {
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, "[]")
			return
		}
		*told = append(*told, r.Header.Get("Authorization")+" "+r.URL.Path+" "+string(body)) // a run sends one request at a time
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id": 1}`)
	}))
	t.Cleanup(hub.Close)
	return hub.URL
}

// outputs are the workflow's, as its caller reads them.
func (s *shop) outputs(r *runner) map[string]string {
	call, ok := s.workflow.FindWorkflowCallEvent()
	require.True(s.t, ok)
	out := map[string]string{}
	for _, o := range maps.All(call.Outputs) {
		out[o.Name.Value] = r.value(o.Value.Value)
	}
	return out
}

// record is the artifact that the deploy job leaves.
func (s *shop) record(r *runner) release.Record {
	var record release.Record
	require.NoError(r.t, json.Unmarshal([]byte(read(r.t, filepath.Join(r.temp, "shipit-record.json"))), &record))
	return record
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}
