package scaffold_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnImageWithoutADockerfileInstallsWhereTheOthersDo(t *testing.T) {
	cfg, draft := drafted(t, map[string]string{
		"package.json":                  `{"name": "busrig", "packageManager": "pnpm@9.15.9", "workspaces": ["packages/*"]}`,
		"packages/bus/package.json":     `{"name": "@busrig/bus", "dependencies": {"hono": "^4"}}`,
		"packages/bus/Dockerfile":       "FROM node:22 AS deps\nRUN pnpm install\nFROM oven/bun:1.3.9\nCMD [\"bun\", \"src/serve.ts\"]\n",
		"packages/gateway/package.json": `{"name": "@busrig/gateway", "scripts": {"start": "bun run src/daemon.ts"}, "dependencies": {"hono": "^4"}}`,
		"infra/gateway.service":         "[Service]\nExecStart=/usr/local/bin/bun run src/daemon.ts\nWorkingDirectory=/srv/busrig/packages/gateway\n",
	})
	require.Contains(t, cfg.Images["bus"].Toolchain, "docker.io/library/node:22@sha256:")
	require.Equal(t, cfg.Images["bus"].Toolchain, cfg.Images["gateway"].Toolchain)
	require.Contains(t, draft.YAML, "# packages/bus/Dockerfile:1, where Dagger runs the commands\n    entrypoint: [bun, --no-install, run, src/daemon.ts]")
}
