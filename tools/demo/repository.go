package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The demo's shipit.yaml, in the parts that it is put together from. stable: is 1s
// instead of 3s, because nobody wants to watch a demo wait.
const (
	configHead = `app: busrig
source: https://github.com/busrig/busrig
builder: embedded
timeout: 2m
images:
  worker:
    repository: ${REGISTRY}/busrig/system-bus-worker
    package: packages/system-bus
    base: ${BASE}
    entrypoint: [bun, --no-install, run, src/serve.ts]
`
	configGateway = `  gateway:
    repository: ${REGISTRY}/busrig/gateway
    package: packages/gateway
    base: scratch
    entrypoint: [/usr/local/bin/bun, --no-install, run, src/daemon.ts]
`
	configCluster = `roles:
  cluster:
    image: worker
    kubernetes: {namespace: busrig}
    env: {WORKER_ROLE: cluster, FIXTURE_FAULT: none}
    port: 3111
    probe: {path: /, expect: ['json.worker.role == "cluster"', 'json.count > 0']}
    stable: 1s
`
	configHost = `  host:
    image: worker
    host: {${MACHINE}, service: system-bus-worker, command: [/usr/local/bin/bun, --no-install, run, src/serve.ts]}
    env: {WORKER_ROLE: host, PORT: "3111", INNGEST_SERVE_HOST: "http://127.0.0.1:3111"}
    port: 3111
    probe: {path: /, expect: ['json.worker.role == "host"']}
    stable: 1s
  gateway:
    image: gateway
    host: {${MACHINE}, service: gateway, stopTimeout: 2s}
    env: {GATEWAY_STATE_DIR: /tmp/gateway}
    port: 3018
    probe: {path: /health, expect: [json.healthy], within: 2s}
    stable: 1s
`
)

const (
	worker  = "packages/system-bus/src/serve.ts"
	gateway = "packages/gateway/src/daemon.ts"
)

// config is shipit.yaml with the roles that run here.
func (g *ground) config() string {
	parts := []string{configHead, configCluster}
	machine := ""
	if h := g.host; h != nil {
		parts = []string{configHead, configGateway, configCluster, configHost}
		machine = fmt.Sprintf("manager: systemd, address: %s, key: %s, knownHosts: %s, root: %s, runtime: {bun: ^1.3}", h.Address, h.Key, h.KnownHosts, h.Root)
	}
	return strings.NewReplacer("${REGISTRY}", g.registry, "${BASE}", g.base, "${MACHINE}", machine).Replace(strings.Join(parts, ""))
}

// makeRepository makes the monorepo, without a commit, and the namespace for its pods.
func (p *play) makeRepository(ctx context.Context, root string) error {
	p.repo = filepath.Join(p.dir, "busrig")
	if err := os.CopyFS(p.repo, os.DirFS(filepath.Join(root, "testdata", "monorepo"))); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.repo, "shipit.yaml"), []byte(p.config()), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"config", "user.name", "Demo"}, {"config", "user.email", "demo@example.com"}} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = p.repo
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]string{"name": "busrig"}}
	return p.cluster.Call(ctx, http.MethodPost, "/api/v1/namespaces", namespace, nil)
}

// edit replaces a text in a file of the repository, in which it must be.
func (p *play) edit(e edit) error {
	path := filepath.Join(p.repo, filepath.FromSlash(e.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), e.from) {
		return fmt.Errorf("%q is not in %s", e.from, e.file)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o644)
}
