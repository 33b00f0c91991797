package scaffold_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// job is a launchd job that starts the worker in a role.
func job(label, role string) string {
	return `<?xml version="1.0"?><plist version="1.0"><dict><key>Label</key><string>` + label + `</string><key>UserName</key><string>dev</string>` +
		`<key>ProgramArguments</key><array><string>/opt/bun</string><string>run</string><string>src/serve.ts</string></array>` +
		`<key>WorkingDirectory</key><string>/Users/dev/busrig/packages/bus</string>` +
		`<key>EnvironmentVariables</key><dict><key>WORKER_ROLE</key><string>` + role + `</string></dict></dict></plist>`
}

func TestAJobAndAUnitThatStartTheSame(t *testing.T) {
	repo := map[string]string{
		"package.json":              `{"name": "busrig", "workspaces": ["packages/*"]}`,
		"packages/bus/package.json": `{"name": "@busrig/bus", "scripts": {"start": "bun run src/serve.ts"}}`,
		"k8s/bus.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bus, namespace: busrig}\nspec:\n  template:\n    spec:\n      containers:\n" +
			"        - {name: bus, image: ghcr.io/busrig/bus, env: [{name: WORKER_ROLE, value: cluster}], ports: [{containerPort: 3111}], readinessProbe: {httpGet: {path: /health, port: 3111}}}\n",
		"infra/launchd/com.busrig.bus.plist": job("com.busrig.bus", "host"),
	}
	unit := "[Service]\nExecStart=/usr/local/bin/bun run src/serve.ts\nWorkingDirectory=/srv/busrig/packages/bus\nEnvironment=PORT=3222 WORKER_ROLE="
	t.Run("are one role, and it is asked which of them runs it", func(t *testing.T) {
		cfg, draft := drafted(t, with(repo, "infra/systemd/bus.service", unit+"host\n"))
		require.Equal(t, []string{"cluster", "host"}, draft.Roles)
		require.Equal(t, "systemd", cfg.Roles[1].Host.Manager)
		require.Equal(t, "bus", cfg.Roles[1].Host.Service)
		require.Contains(t, draft.Todos, "whether infra/systemd/bus.service runs it, or infra/launchd/com.busrig.bus.plist, which starts the same by launchd")
		require.Equal(t, 3222, cfg.Roles[1].Port)
		require.Equal(t, "/health", cfg.Roles[1].Probe.Path, "the same program answers on the other port")
	})
	t.Run("in two roles are two", func(t *testing.T) {
		_, draft := drafted(t, with(repo, "infra/systemd/bus.service", unit+"edge\n"))
		require.Equal(t, []string{"cluster", "host", "edge"}, draft.Roles)
	})
	t.Run("by one manager are two", func(t *testing.T) {
		_, draft := drafted(t, with(repo, "infra/launchd/com.busrig.bus-second.plist", job("com.busrig.bus-second", "host")))
		require.Len(t, draft.Roles, 3)
	})
}
