package scaffold_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/scaffold"
)

// drafted is the configuration for a tree of these files, and what was said of it.
func drafted(t *testing.T, files map[string]string) (config.Config, scaffold.Draft) {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	draft, err := scaffold.Read(t.Context(), tree, scaffold.Options{Digest: digests})
	require.NoError(t, err)
	cfg, err := config.Parse(config.File, []byte(draft.YAML), "")
	require.NoError(t, err, draft.YAML)
	return cfg, draft
}

// with adds files to others.
func with(files map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, text := range files {
		all[name] = text
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestUnitsOfSystemd(t *testing.T) {
	repo := map[string]string{
		"package.json":                  `{"name": "busrig", "workspaces": ["packages/*"]}`,
		"packages/gateway/package.json": `{"name": "@busrig/gateway", "scripts": {"start": "bun run src/daemon.ts"}}`,
		"packages/web/package.json":     `{"name": "@busrig/web", "scripts": {"start": "bun run src/web.ts"}}`,
	}
	unit := "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/local/bin/bun --no-install run src/daemon.ts\nWorkingDirectory=/opt/busrig/packages/gateway\nUser=bus\n" +
		"Environment=WORKER_ROLE=edge \"NOTE=a b\"\nEnvironmentFile=-/etc/busrig.env\nRestart=always\n[Install]\nExecStart=ignored\n"
	t.Run("a unit whose folder is a package's is its role", func(t *testing.T) {
		cfg, draft := drafted(t, with(repo, "deploy/bus-edge.service", unit))
		require.Equal(t, []string{"gateway"}, draft.Roles)
		require.Equal(t, []string{"packages/web"}, draft.LeftOut)
		role := cfg.Roles[0]
		require.Equal(t, config.Host{Manager: "systemd", Service: "bus-edge", User: "bus", EnvFile: "/etc/busrig.env"}, *role.Host)
		require.Equal(t, map[string]string{"WORKER_ROLE": "edge", "NOTE": "a b"}, role.Env)
		require.Equal(t, []string{"bun", "--no-install", "run", "src/daemon.ts"}, cfg.Images["gateway"].Entrypoint)
		require.Equal(t, "scratch", cfg.Images["gateway"].Base)
		require.NotContains(t, draft.YAML, "shipit starts the image's entrypoint", "it starts the same")
	})
	t.Run("what a user's manager runs has that domain", func(t *testing.T) {
		cfg, _ := drafted(t, with(repo, "deploy/user/gateway.service", unit))
		require.Equal(t, "user", cfg.Roles[0].Host.Domain)
	})
	for name, files := range map[string]map[string]string{
		"what a timer starts": with(repo, "deploy/gateway.service", unit, "deploy/gateway.timer", "[Timer]\nOnCalendar=daily\n"),
		"a oneshot":           with(repo, "deploy/gateway.service", unit+"[Service]\nType=oneshot\n"),
		"a template":          with(repo, "deploy/gateway@.service", unit),
	} {
		t.Run(name+" is no role", func(t *testing.T) {
			cfg, _ := drafted(t, files)
			for _, role := range cfg.Roles {
				require.Nil(t, role.Host)
			}
		})
	}
}

func TestDockerfiles(t *testing.T) {
	repo := map[string]string{"package.json": `{"name": "one", "packageManager": "bun@1.3.9", "workspaces": {"packages": ["apps/*", "!apps/old"]}}`,
		"apps/api/package.json": `{"name": "api", "scripts": {"start": "node server.js"}, "dependencies": {"x": "1"}}`,
		"apps/old/package.json": `{"name": "old"}`, "apps/old/Dockerfile": "FROM scratch\n"}
	api := func(t *testing.T, dockerfile string) (config.Image, scaffold.Draft) {
		t.Helper()
		cfg, draft := drafted(t, with(repo, "apps/api/Dockerfile", dockerfile))
		require.Equal(t, []string{"api"}, draft.Roles, "the workspace leaves the old one out")
		return cfg.Images["api"], draft
	}
	t.Run("entrypoint and arguments, over several lines", func(t *testing.T) {
		img, _ := api(t, "FROM node:22 AS a\nFROM a\nENTRYPOINT [\"node\"]\nCMD [\"--enable-source-maps\", \\\n  # why\n  \"server.js\"]\n")
		require.Equal(t, []string{"node", "--enable-source-maps", "server.js"}, img.Entrypoint)
		require.Contains(t, img.Base, "docker.io/library/node:22@sha256:")
		require.Equal(t, [][]string{{"bun", "install", "--frozen-lockfile", "--production", "--filter", "api"}}, img.Run)
	})
	t.Run("a command in a shell's words", func(t *testing.T) {
		img, _ := api(t, "FROM node:22\nCMD node server.js\n")
		require.Equal(t, []string{"node", "server.js"}, img.Entrypoint)
		img, _ = api(t, "FROM node:22\nCMD exec node server.js > log\n")
		require.Equal(t, []string{"sh", "-c", "exec node server.js > log"}, img.Entrypoint)
	})
	t.Run("what a build needs is installed before it and gone after it", func(t *testing.T) {
		img, _ := api(t, "FROM node:22\nRUN bun install && bun run build\nCMD [\"node\", \"dist/server.js\"]\n")
		require.Equal(t, [][]string{
			{"bun", "install", "--frozen-lockfile", "--filter", "api"}, {"bun", "run", "build"},
			{"bun", "install", "--frozen-lockfile", "--production", "--filter", "api"},
		}, img.Run)
	})
	t.Run("packages of the system are asked for as a base", func(t *testing.T) {
		_, draft := api(t, "FROM node:22\nRUN apt-get update && apt-get install -y ffmpeg\nCMD [\"node\", \"server.js\"]\n")
		require.Contains(t, strings.Join(draft.Todos, "\n"), "apps/api/Dockerfile:2 adds to it (apt-get update)")
	})
	t.Run("where nothing says where it runs, the namespace is asked for", func(t *testing.T) {
		img, draft := api(t, "FROM node:22\nENV NODE_ENV=production TOKEN_HOME=/x\nEXPOSE 80/tcp\n")
		require.Contains(t, draft.Todos, "the namespace in which it runs")
		require.Equal(t, map[string]string{"NODE_ENV": "production"}, img.Env)
		require.Equal(t, []string{"node", "server.js"}, img.Entrypoint)
	})
}

func TestNothingThatIsDeployed(t *testing.T) {
	_, err := scaffold.Read(t.Context(), fstest.MapFS{"packages/lib/package.json": &fstest.MapFile{Data: []byte(`{"name": "lib"}`)}}, scaffold.Options{})
	var nothing *scaffold.NothingError
	require.ErrorAs(t, err, &nothing)
}
