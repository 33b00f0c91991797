package scaffold_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/scaffold"
)

// initialized is the configuration that init writes for a tree of these files.
func initialized(t *testing.T, files map[string]string, links map[string]string) config.Config {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o644))
	}
	for name, to := range links {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	draft, err := scaffold.Read(t.Context(), os.DirFS(dir), scaffold.Options{})
	require.NoError(t, err)
	cfg, err := config.Parse(config.File, []byte(draft.YAML), "")
	require.NoError(t, err)
	return cfg
}

func starting(script string) string { return fmt.Sprintf(`{"scripts": {"start": %q}}`, script) }

func deploymentManifest(image string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nspec:\n  containers:\n  - image: " + image
}

func TestRead(t *testing.T) {
	t.Run("a start script keeps its characters", func(t *testing.T) {
		cfg := initialized(t, map[string]string{"packages/web/package.json": starting(`bun run {x}: #1 [a, *b] - null "q" 'p' C:\d & env: --flag=1`)}, nil)
		require.Equal(t, []string{"bun", "--no-install", "run", "{x}:", "#1", "[a,", "*b]", "-", "null", `"q"`, "'p'", `C:\d`, "&", "env:", "--flag=1"}, cfg.Images["web"].Entrypoint)
	})
	t.Run("a folder keeps its characters", func(t *testing.T) {
		cfg := initialized(t, map[string]string{"packages/my: web/package.json": starting("bun x.ts"), "k8s, all/web.yaml": deploymentManifest("ghcr.io/acme/my-web:1")}, nil)
		require.Equal(t, "packages/my: web", cfg.Images["my-web"].Package)
		require.Equal(t, []string{"k8s, all/web.yaml"}, cfg.Roles[0].Kubernetes.Manifests)
	})
	t.Run("packages in folders of one name have names of their own", func(t *testing.T) {
		long := strings.Repeat("long-", 10)
		cfg := initialized(t, map[string]string{
			"apps/web/package.json": starting("bun a.ts"), "packages/web/package.json": starting("bun b.ts"), "packages-web/package.json": starting("bun c.ts"),
			"apps/" + long + "/package.json": starting("bun d.ts"), "apps/" + long + "er/package.json": starting("bun e.ts"), "apps/日本/package.json": starting("bun f.ts"),
		}, nil)
		packages := map[string]bool{}
		for _, r := range cfg.Roles {
			packages[cfg.Images[r.Image].Package] = true
		}
		require.Len(t, packages, 6)
		require.Equal(t, "apps/web", cfg.Images["web"].Package)
		require.Equal(t, "packages/web", cfg.Images["packages-web"].Package)
		require.Equal(t, "packages-web", cfg.Images["packages-web-2"].Package)
	})
	t.Run("an image that no registry could hold is passed over", func(t *testing.T) {
		for _, image := range []string{"web:latest", "web", "ghcr.io/Acme/web:1", "my_registry/web", "$(REGISTRY)/web"} {
			cfg := initialized(t, map[string]string{"packages/web/package.json": starting("bun a.ts"), "k8s/web.yaml": deploymentManifest(image)}, nil)
			require.Equal(t, "ghcr.io/owner/web", cfg.Images["web"].Repository, image)
			require.Empty(t, cfg.Roles[0].Kubernetes.Manifests, image)
		}
	})
	t.Run("what is no file is passed over", func(t *testing.T) {
		initialized(t, map[string]string{"packages/web/package.json": starting("bun a.ts")},
			map[string]string{"gone.yaml": "nowhere", "folder.yaml": "packages", "packages/package.json": "nowhere"})
	})
	t.Run("of several images the one of the package's name is taken, every time", func(t *testing.T) {
		files := map[string]string{"packages/web/package.json": starting("bun a.ts"), "packages/api/package.json": starting("bun a.ts"), "packages/api-docs/package.json": starting("bun a.ts")}
		for _, image := range []string{"a/web-admin", "b/website", "z/web", "r/api-docs"} {
			files["k8s/"+strings.ReplaceAll(image, "/", "-")+".yaml"] = deploymentManifest("ghcr.io/" + image)
		}
		for range 10 {
			cfg := initialized(t, files, nil)
			require.Equal(t, "ghcr.io/z/web", cfg.Images["web"].Repository)
			require.Equal(t, "ghcr.io/r/api-docs", cfg.Images["api-docs"].Repository)
			require.NotContains(t, cfg.Images, "api", "nothing deploys it")
		}
		delete(files, "k8s/z-web.yaml")
		for range 10 {
			web := initialized(t, files, nil).Images["web-admin"]
			require.Equal(t, "ghcr.io/a/web-admin", web.Repository)
			require.Equal(t, "packages/web", web.Package)
		}
	})
	t.Run("DIR may be a link", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "repo", "packages", "web"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "repo", "packages", "web", "package.json"), []byte(starting("bun a.ts")), 0o644))
		require.NoError(t, os.Symlink("repo", filepath.Join(dir, "link")))
		_, err := scaffold.Read(t.Context(), os.DirFS(filepath.Join(dir, "link")), scaffold.Options{})
		require.NoError(t, err)
	})
}
