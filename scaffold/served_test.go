package scaffold_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHowADaemonIsAsked(t *testing.T) {
	const question = "port and probe: {path: …}, by which to see that it is healthy, if it serves HTTP; without them only that it stays up is seen"
	repo := map[string]string{
		"package.json":                  `{"name": "busrig", "workspaces": ["packages/*"]}`,
		"packages/gateway/package.json": `{"name": "@busrig/gateway", "scripts": {"start": "bun run src/daemon.ts"}}`,
		"infra/gateway.service":         "[Service]\nExecStart=/usr/local/bin/bun run src/daemon.ts\nWorkingDirectory=/srv/busrig/packages/gateway\n",
	}
	for name, tc := range map[string]struct {
		source string
		port   int
		path   string
	}{
		"a default of a variable":     {`const port = Number(process.env.GATEWAY_PORT ?? "3018"); if (url.pathname === "/health") ok();`, 3018, "/health"},
		"a constant, beside Redis":    {"const DEFAULT_WS_PORT = 3018;\nredis({ port: parseInt(process.env.REDIS_PORT ?? \"6379\", 10) });\nif (url.pathname === '/healthz') ok();", 3018, "/healthz"},
		"twice the same":              {"serve({ port: 3111 });\nregister({ port: 3111 });", 3111, ""},
		"two ports":                   {"serve({ port: 3111 });\nmetrics({ port: 9090 });\nif (path === \"/health\") ok();", 0, ""},
		"no port":                     {`if (path === "/health") ok();`, 0, ""},
		"a path that is asked itself": {`serve({ port: 3111 }); await typesense("/health");`, 3111, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, draft := drafted(t, with(repo, "packages/gateway/src/daemon.ts", tc.source))
			require.Equal(t, tc.port, cfg.Roles[0].Port)
			if tc.path != "" {
				require.Equal(t, tc.path, cfg.Roles[0].Probe.Path)
			} else {
				require.Nil(t, cfg.Roles[0].Probe)
			}
			require.Equal(t, tc.port == 0, slices.Contains(draft.Todos, question), draft.Todos)
		})
	}
}
