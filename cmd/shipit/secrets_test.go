package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// planted are marked values by where they are planted. Nothing that shipit writes
// may hold one of them, or one of its lines, as it is, as JSON or in base64.
func planted() map[string]string {
	all := map[string]string{
		"COSIGN_PASSWORD":                "zqxcosign7f3a9b1c",
		"GITHUB_TOKEN":                   "zqxgithub2d8e4f60",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "zqxoidctoken91b7d3",
		"WEBHOOK_SECRET":                 "zqxwebhook0f1e2d3c",
		"webhook path":                   "zqxhookpath4b5a6978",
		"registry":                       "zqxdocker5c6e7f80",
		"wrong registry":                 "zqxwronglogin6b2c",
		"git":                            "zqxgittoken3e5f77",
	}
	maps.Copy(all, ofPods())
	maps.Copy(all, ofHost())
	return all
}

// ofPods are the values of a Secret that the worker's pods are given.
func ofPods() map[string]string {
	return map[string]string{
		"OPAQUE":    "zqxopaque1a2b3c4d",
		"LINES":     "zqxfirstline8899aa\nzqxsecondline77ee\n",
		"SHORT":     "Zq9x",
		"SIX":       "Qx7Zk2",
		"URL_OF_DB": "postgres://worker:zqxdburl44aa55@db:5432/x",
	}
}

// ofHost are the values of the service's environment file on the machine.
func ofHost() map[string]string {
	return map[string]string{
		"HOST_OPAQUE":    "zqxhost9d8c7b6a",
		"HOST_LINES":     "zqxhostfirst11bb\nzqxhostsecond22cc",
		"HOST_CONTINUED": "zqxcontinued33ddzqxover44ee",
		"HOST_ESCAPED":   "zqxescaped\"quote55ff",
		"HOST_SIX":       "Kw3Xq8",
	}
}

// hostFile is the text of that file.
const hostFile = `# HOST_OPAQUE=an example
HOST_OPAQUE=zqxhost9d8c7b6a
HOST_LINES="zqxhostfirst11bb
zqxhostsecond22cc"
HOST_CONTINUED=zqxcontinued33dd\
zqxover44ee
HOST_ESCAPED=zqxescaped\"quote55ff
HOST_SIX='Kw3Xq8'
`

// tattletale is what a worker does that prints all that it knows: in its log, its
// termination message, or its answers.
const tattletale = `
import { writeFileSync } from "node:fs";
const known = Object.keys(process.env).filter((k) => /^(OPAQUE|LINES|SHORT|SIX|URL_OF_DB|HOST_.*)$/.test(k)).map((k) => process.env[k] ?? "");
const told = () => [...known, ...known.map(btoa), btoa(known.join(" ")), JSON.stringify(known), JSON.stringify({ deep: JSON.stringify(known) }), ...known.map((k) => "-".repeat(155) + k)].join("\n");
if (process.env.TATTLE === "crash") {
  console.log("\x1b[2J\x1b]0;title\x07\x00 told");
  console.log(told());
  console.error("Error: cannot start with " + known.join(" and "));
  if (process.env.WORKER_ROLE === "cluster") writeFileSync("/dev/termination-log", "died of " + known.join(",") + "\x1b[31m\n" + told());
  process.exit(3);
}
`

const hostedImage = `  hosted:
    repository: GUARDED/secrets/hosted
    package: packages/system-bus
    base: scratch
    entrypoint: [/usr/local/bin/bun, --no-install, run, src/serve.ts]
`

const hostedRole = `  host:
    image: hosted
    host: {manager: systemd, service: worker, address: HOST, key: KEY, knownHosts: KNOWN, root: /srv/worker, stopTimeout: 2s, envFile: /etc/worker.env}
    stable: 100ms
    env:
      WORKER_ROLE: host
      PORT: "3111"
    port: 3111
    probe:
      path: /
      expect: ['json.worker.role == "host"']
      within: 3s
    register: {path: /api/inngest, within: 3s}
`

// noSecretIsWritten plants marked values wherever a secret can be, has releases
// fail and go back, and searches all that was written: stdout, stderr, events, the
// job summary and outputs, the ledger, every object, the registries, the machine
// and the cache. Terminal escapes of a log do not reach the terminal.
func noSecretIsWritten(t *testing.T, g ground) {
	s := tattling(t, g)
	s.run(0, "release", s.sha["first"])
	for _, how := range []string{"pod crashes", "pod answers", "service crashes", "service answers", "probe prints"} {
		s.run(exitRestored, "release", s.sha[how])
	}
	s.run(exitRefused, "build", s.sha["builds"])
	s.run(0, "release", s.sha["second"])
	s.run(0, "rollback")
	s.run(0, "verify")
	for _, words := range [][]string{{"status"}, {"history"}, {"history", "2"}, {"history", "3"}, {"history", "4"}, {"history", "-o", "json"}, {"status", "-o", "json"}} {
		s.run(0, words...)
	}
	s.loseBlob("lost")
	s.run(exitRefused, "build", s.sha["lost"])
	s.env = append(s.env, "DOCKER_CONFIG="+s.login("wrong registry"))
	s.run(exitRefused, "build", s.sha["third"])

	require.Contains(t, s.said.String(), "CrashLoop", "the crash is told of")
	require.Contains(t, s.said.String(), "[redacted]", "and what it printed is shown without its secrets")
	require.Contains(t, s.said.String(), "registered: 200", "and what it answers to its registration, too")
	require.Contains(t, s.said.String(), "serve.ts", "the missing blob is named")
	require.Contains(t, s.said.String(), "events were not delivered: 403", "who does not listen is named")
	require.Contains(t, s.said.String(), "GitHub was not told")
	for _, escape := range []string{"\x1b", "\x07", "\x00"} {
		require.NotContains(t, s.said.String(), escape, "a container's log reaches the terminal raw")
	}
	search := newSearch()
	search.in("what was printed", s.said.Bytes())
	for _, name := range []string{"events", "summary", "output", "told"} {
		search.file(t, name, filepath.Join(s.dir, name))
	}
	search.objects(t, s.g)
	search.machine(t, s.g.host)
	require.NotZero(t, search.repositories(t, g.blobs, "secrets"))
	for _, folder := range []string{filepath.Join(s.dir, "registry"), filepath.Join(filepath.Dir(s.repo.Dir), ".cache")} {
		require.NotZero(t, search.folder(t, folder), folder)
	}
	t.Logf("%d places of %d bytes were searched for %d spellings", search.places, search.bytes, len(search.spellings))
	require.Empty(t, search.found)
}

// tattler is an app of a worker in a pod and one on a machine, whose commits tell
// what they know, and all that its commands said.
type tattler struct {
	*shop
	dir  string
	said bytes.Buffer
}

// tattling adds to a node a machine, and a registry that wants a password, and plants the values.
func tattling(t *testing.T, g ground) *tattler {
	t.Helper()
	g = g.withHost(t, nil)
	require.NoError(t, g.host.Write(t.Context(), "/etc/worker.env", hostFile, 0o600))
	dir := t.TempDir()
	guarded, shut, err := cluster.RegistryWithLogin(t.Context(), filepath.Join(dir, "registry"), cluster.Login{User: "user", Password: planted()["registry"]})
	require.NoError(t, err)
	t.Cleanup(shut)
	s := &tattler{shop: g.shop(t, "secrets"), dir: dir}
	s.plant(guarded)
	return s
}

// run runs shipit as a job of GitHub Actions does, demands its exit code, and keeps what it printed.
func (s *tattler) run(code int, args ...string) {
	s.t.Helper()
	cmd, stderr := s.command(nil, append([]string{"--events", filepath.Join(s.dir, "events")}, args...)...)
	out, _ := cmd.Output()
	require.Equal(s.t, code, cmd.ProcessState.ExitCode(), "shipit %s\n%s\n%s", args, stderr, out)
	s.said.WriteString(stderr.String())
	s.said.Write(out)
}

// login is the folder of a Docker configuration with one of the planted passwords.
func (s *tattler) login(which string) string {
	dir := filepath.Join(s.t.TempDir(), ".docker")
	require.NoError(s.t, os.Mkdir(dir, 0o700))
	auth := base64.StdEncoding.EncodeToString([]byte("user:" + planted()[which]))
	entry := `{"auth":"` + auth + `"}`
	guarded := s.repo.Git("config", "test.guarded")
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths":{"`+s.g.registry+`":`+entry+`,"`+guarded+`":`+entry+`}}`), 0o600))
	return dir
}

// plant makes the Secret, the key pair, the credentials and the commits.
func (s *tattler) plant(guarded string) {
	s.repo.Git("config", "test.guarded", guarded)
	s.repo.Git("remote", "add", "origin", "https://x-access-token:"+planted()["git"]+"@127.0.0.1:1/busrig/busrig.git")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, StringData: ofPods()}
	_, err := s.g.client.CoreV1().Secrets("secrets").Create(s.t.Context(), secret, metav1.CreateOptions{})
	require.NoError(s.t, err)
	s.env = append(s.env, "DOCKER_CONFIG="+s.login("registry"), "GITHUB_ACTIONS=true",
		"GITHUB_STEP_SUMMARY="+filepath.Join(s.dir, "summary"), "GITHUB_OUTPUT="+filepath.Join(s.dir, "output"))
	for _, name := range []string{"COSIGN_PASSWORD", "GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "WEBHOOK_SECRET"} {
		s.env = append(s.env, name+"="+planted()[name])
	}
	listener := s.listen()
	s.env = append(s.env, "GITHUB_API_URL="+listener, "WEBHOOK="+listener+"/"+planted()["webhook path"])
	s.commits(guarded)
}

// listen is the address of one who is told of releases: it keeps what it was told in a file,
// and gives back in its refusal what it was sent to know the sender by.
func (s *tattler) listen() string {
	told, err := os.Create(filepath.Join(s.dir, "told"))
	require.NoError(s.t, err)
	var one sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one.Lock()
		defer one.Unlock()
		_, _ = io.Copy(told, r.Body)
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "not you: " + r.Header.Get("Authorization")})
	}))
	s.t.Cleanup(func() { server.Close(); _ = told.Close() })
	return server.URL
}

// commits are a worker that is well, and those that tell what they know, each in its own way.
func (s *tattler) commits(guarded string) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte(planted()["COSIGN_PASSWORD"]), nil })
	require.NoError(s.t, err)
	s.repo.Git("checkout", "-q", s.sha["v1"])
	replace := func(text, old, with string) string {
		require.Equal(s.t, 1, strings.Count(text, old), "%q in\n%s", old, text)
		return strings.Replace(text, old, with, 1)
	}
	config := replace(s.repo.Read("shipit.yaml"), "      namespace: secrets\n", "      namespace: secrets\n      envFrom: [worker]\n")
	hosted := strings.NewReplacer("GUARDED", guarded, "HOST", s.g.host.Address, "KEY", s.g.host.Key, "KNOWN", s.g.host.KnownHosts)
	config = replace(config, "roles:\n", hosted.Replace(hostedImage)+"roles:\n")
	config = replace(config, "functions:\n", hosted.Replace(hostedRole)+"functions:\n")
	config += "signing: {mode: key, key: cosign.key, policy: {keys: [cosign.pub], predicates: [signature, provenance]}}\n"
	config += "notify: {webhooks: [{url: 'env:WEBHOOK', secret: WEBHOOK_SECRET}]}\n"
	serve := tattletale + replace(s.repo.Read("packages/system-bus/src/serve.ts"), ": Response.json(health());",
		`: process.env.TATTLE === "answer" ? new Response(told(), { status: 200 }) : Response.json(health());`)
	serve = replace(serve, "return register(url.origin);", `return Response.json({ modified: true, message: told() });`)
	s.sha["first"] = s.repo.Commit("first", map[string]string{
		"shipit.yaml": config, "cosign.key": string(pair.PrivateBytes), "cosign.pub": string(pair.PublicBytes), "packages/system-bus/src/serve.ts": serve,
	})
	pod, service, probe := "      WORKER_ROLE: cluster\n", "      WORKER_ROLE: host\n", "      within: 3s\n"
	edits := map[string]string{
		"pod crashes":     replace(config, pod, pod+"      TATTLE: crash\n"),
		"pod answers":     replace(config, pod, pod+"      TATTLE: answer\n"),
		"service crashes": replace(config, service, service+"      TATTLE: crash\n"),
		"service answers": replace(config, service, service+"      TATTLE: answer\n"),
		"probe prints":    replace(config, probe, probe+"    probes: [{name: a command, within: 1s, command: [sh, -c, 'env; cat \"$DOCKER_CONFIG/config.json\"; git config -l; echo $COSIGN_PASSWORD and ${GITHUB_TOKEN}; false']}]\n"),
		"builds": replace(config, "    package: packages/system-bus\n    base: "+s.g.base,
			"    package: packages/system-bus\n    run: [[sh, -c, 'env; cat /proc/[0-9]*/environ; cat \"$DOCKER_CONFIG/config.json\"; false']]\n    base: "+s.g.base),
	}
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		s.sha[name] = s.repo.Commit(name, map[string]string{"shipit.yaml": edits[name]})
	}
	for _, name := range []string{"second", "third", "lost"} {
		s.sha[name] = s.repo.Commit(name, map[string]string{"shipit.yaml": config, "packages/system-bus/src/serve.ts": serve + "\n// " + name + "\n"})
	}
}

// loseBlob makes the repository one that never fetched a file of a commit.
func (s *tattler) loseBlob(commit string) {
	id := s.repo.Git("rev-parse", s.sha[commit]+":packages/system-bus/src/serve.ts")
	require.NoError(s.t, os.Remove(filepath.Join(s.repo.Dir, ".git", "objects", id[:2], id[2:])))
	s.repo.Git("config", "remote.origin.promisor", "true")
	s.repo.Git("config", "extensions.partialClone", "origin")
}
