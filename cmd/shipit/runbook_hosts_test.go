package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/tools/devhost"
)

// machine boots a machine with a program to run.
func (w *walk) machine() *devhost.Host {
	w.t.Helper()
	program := filepath.Join(w.t.TempDir(), "serve")
	out, err := exec.CommandContext(w.t.Context(), "go", "build", "-o", program, "../../deploy/host/testdata/serve").CombinedOutput()
	require.NoError(w.t, err, string(out))
	h, err := devhost.Up(w.t.Context(), devhost.Options{Files: map[string]string{"/usr/local/bin/serve": program}, Progress: progressOf(w.t)})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, h.Down()) })
	return h
}

// reach has the files of the SSH key and of known machines be those of a machine, whose
// name in the page is shown.
func (w *walk) reach(h *devhost.Host, shown string) {
	w.t.Helper()
	w.names[h.IP] = shown
	for from, to := range map[string]string{h.Key: "id", h.KnownHosts: "known_hosts"} {
		data, err := os.ReadFile(from)
		require.NoError(w.t, err)
		require.NoError(w.t, os.WriteFile(filepath.Join(w.repo.Dir, "..", to), data, 0o600))
	}
}

const gatewayImage = `  gateway:
    repository: REGISTRY/gateway
    package: packages/gateway
    base: scratch
    entrypoint: [/usr/local/bin/serve]
    prove: {skip: true}
roles:
`

const gatewayRole = `  gateway:
    image: gateway
    host: {manager: systemd, service: gateway, address: root@MACHINE, key: KEYS/id, knownHosts: KEYS/known_hosts, root: /srv/busrig, envFile: /etc/gateway.env}
    env: {PORT: "3018"}
    port: 3018
    stable: 100ms
functions:
`

// withGateway releases 3.0.0, whose second role is a service on a machine.
func (w *walk) withGateway(h *devhost.Host) {
	w.t.Helper()
	w.sound()
	require.NoError(w.t, h.Write(context.Background(), "/etc/gateway.env", "TOKEN=old\n", 0o600))
	fill := strings.NewReplacer("REGISTRY", w.g.registry+"/"+w.namespace(), "MACHINE", h.IP, "KEYS", filepath.Dir(w.repo.Dir))
	text := w.repo.Read("shipit.yaml")
	text = strings.Replace(text, "roles:\n", fill.Replace(gatewayImage), 1)
	text = strings.Replace(text, "functions:\n", fill.Replace(gatewayRole), 1)
	w.repo.Commit("v3.0.0", map[string]string{"shipit.yaml": text})
	w.repo.Git("tag", "-f", "v3.0.0")
	w.does(0, "release")
}

// hostLost has a machine that is gone, and another in its place from the third command on.
func (w *walk) hostLost() {
	old := w.machine()
	w.reach(old, "old.example.com")
	w.withGateway(old)
	w.before[1] = func() { require.NoError(w.t, old.Cut(context.Background())) }
	next := w.machine()
	require.NoError(w.t, next.Write(context.Background(), "/etc/gateway.env", "TOKEN=old\n", 0o600))
	w.names[next.IP] = "new.example.com"
	w.before[3] = func() { w.reach(next, "new.example.com") }
}

// hostSecretRotated has an environment file that is written anew before the first command.
func (w *walk) hostSecretRotated() {
	h := w.machine()
	w.reach(h, "panda.example.com")
	w.withGateway(h)
	w.before[1] = func() {
		require.NoError(w.t, h.Write(context.Background(), "/etc/gateway.env", "TOKEN=new\n", 0o600))
	}
}
