package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/tools/bunbase"
)

// realRepo is the sample whose worker has hono and inngest from npm, 200
// packages in all.
func realRepo(t *testing.T) *sample.Repo {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("testdata", "dependencies", name))
		require.NoError(t, err)
		return string(data)
	}
	return sample.New(t, sample.Options{Edits: map[string]string{
		"pnpm-lock.yaml": read("pnpm-lock.yaml"), worker + "/package.json": read("package.json"), worker + "/src/serve.ts": read("serve.ts"),
	}})
}

func TestARealInstallGivesTheSameDigestTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("installs 200 packages from npm")
	}
	ctx := context.Background()
	base, err := bunbase.Image(ctx)
	require.NoError(t, err)
	pnpm, err := bunbase.PNPM(ctx)
	require.NoError(t, err)
	t.Setenv("PATH", filepath.Dir(pnpm)+":"+os.Getenv("PATH"))
	img := provenImage()
	img.Base = "registry.test/bun@sha256:" + strings.Repeat("a", 64)
	img.Run = [][]string{{"pnpm", "install", "--frozen-lockfile", "--prod", "--filter", "@busrig/system-bus..."}}
	if canEnter() {
		img.Prove.Start = config.Duration(2 * time.Second)
	}
	opts := testOptions(t)
	opts.buildRoot = "" // the real one
	opts.Base = func(context.Context, string) (Artifact, error) { return base, nil }
	r := realRepo(t)
	b, err := checkReproducible(ctx, resolve(t, r.Dir, img), opts)
	require.NoError(t, err)
	files, order := headers(t, b.Artifact.(v1.Image))
	require.Contains(t, files, "app/packages/system-bus/node_modules/hono")
	require.NotContains(t, files, "app/node_modules/.modules.yaml")
	require.Greater(t, len(order), 5000)
	for _, name := range order {
		if strings.HasSuffix(filepath.Dir(name), "/.bin") && files[name].Size > 0 {
			require.NotContains(t, fileOf(t, b, name), buildRoot)
			return // one shim is enough to see that they are rewritten
		}
	}
	t.Fatal("the install made no shim")
}

func TestPackageManagersAcceptTheCutLockfile(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	ctx := context.Background()
	bun, err := bunbase.Bun(ctx)
	require.NoError(t, err)
	pnpm, err := bunbase.PNPM(ctx)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		lock, whole, manifest string
		args                  []string
	}{
		"bun":  {"bun.lock", "bun-lock.whole", `"workspaces":["packages/*"],`, []string{bun, "install", "--frozen-lockfile", "--production"}},
		"pnpm": {"pnpm-lock.yaml", "pnpm-lock.whole", "", []string{pnpm, "install", "--frozen-lockfile", "--prod", "--filter", "@w/a..."}},
	} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(filepath.Join("lockfile", "testdata", tt.whole))
			require.NoError(t, err)
			r := sample.New(t, sample.Options{})
			for _, p := range []string{"packages", "pnpm-lock.yaml", "pnpm-workspace.yaml"} {
				r.Remove(p)
			}
			edits := map[string]string{
				tt.lock:                   string(whole),
				"package.json":            `{"name":"root","private":true,` + tt.manifest + `"devDependencies":{"is-odd":"3.0.1"}}`,
				"packages/a/package.json": `{"name":"@w/a","version":"1.0.0","dependencies":{"@w/b":"workspace:*","is-even":"1.0.0","kleur4":"npm:kleur@4.1.5"}}`,
				"packages/b/package.json": `{"name":"@w/b","version":"1.0.0","dependencies":{"ms":"2.1.3"}}`,
				"packages/c/package.json": `{"name":"@w/c","version":"1.0.0","dependencies":{"@w/b":"workspace:*","ms":"2.0.0","left-pad":"1.3.0","kleur":"3.0.3"}}`,
			}
			if name == "pnpm" {
				edits["pnpm-workspace.yaml"] = "packages: ['packages/*']\n"
			}
			r.Commit("packages", edits)
			img := workerImage()
			img.Package, img.Run = "packages/a", [][]string{tt.args}
			b := buildImage(t, r.Dir, img)
			files := headersOf(t, b)
			require.NotContains(t, files, "app/packages/c/package.json")
			require.NotContains(t, fileOf(t, b, "app/"+tt.lock), "left-pad")
		})
	}
}

// bun looks for every package of the workspace that any other declares, also for
// development only. Their manifests are enough for it.
func TestBunAcceptsTheCutLockfileWithoutWhatIsForDevelopment(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	bun, err := bunbase.Bun(t.Context())
	require.NoError(t, err)
	whole, err := os.ReadFile(filepath.Join("lockfile", "testdata", "bun-dev.whole"))
	require.NoError(t, err)
	r := sample.New(t, sample.Options{})
	for _, p := range []string{"packages", "pnpm-lock.yaml", "pnpm-workspace.yaml"} {
		r.Remove(p)
	}
	r.Commit("packages", map[string]string{
		"bun.lock":                string(whole),
		"package.json":            `{"name":"root","private":true,"workspaces":["packages/*"],"devDependencies":{"is-odd":"3.0.1","@w/d":"workspace:*"}}`,
		"packages/a/package.json": `{"name":"@w/a","version":"1.0.0","dependencies":{"@w/b":"workspace:*","is-even":"1.0.0"},"devDependencies":{"@w/c":"workspace:*"}}`,
		"packages/b/package.json": `{"name":"@w/b","version":"1.0.0","dependencies":{"ms":"2.1.3"}}`,
		"packages/c/package.json": `{"name":"@w/c","version":"1.0.0","dependencies":{"@w/e":"workspace:*","left-pad":"1.3.0"}}`,
		"packages/c/index.ts":     "",
		"packages/d/package.json": `{"name":"@w/d","version":"1.0.0","dependencies":{"kleur":"3.0.3"}}`,
		"packages/e/package.json": `{"name":"@w/e","version":"1.0.0","dependencies":{"ms":"2.0.0"}}`,
		"packages/f/package.json": `{"name":"@w/f","version":"1.0.0"}`,
	})
	img := workerImage()
	img.Package, img.Run = "packages/a", [][]string{{bun, "install", "--frozen-lockfile", "--production", "--filter", "@w/a"}}
	in := resolve(t, r.Dir, img)
	b, err := Build(t.Context(), in, testOptions(t))
	require.NoError(t, err)
	files := headersOf(t, b)
	for _, p := range []string{"c", "d", "e"} {
		require.Contains(t, files, "app/packages/"+p+"/package.json")
	}
	require.NotContains(t, files, "app/packages/c/index.ts", "a manifest is enough")
	require.NotContains(t, files, "app/packages/f/package.json")
	require.NotContains(t, files, "app/node_modules/.bun/left-pad@1.3.0/")
	require.Equal(t, []string{"bun.lock", "package.json", "packages/a", "packages/b", "packages/c/package.json", "packages/d/package.json", "packages/e/package.json"}, in.Closure.Paths())
}
