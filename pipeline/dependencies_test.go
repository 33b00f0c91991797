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
	if startable() == nil {
		img.Prove.Start = config.Duration(2 * time.Second)
	}
	opts := testOptions(t)
	opts.buildRoot = "" // the real one
	opts.Base = func(context.Context, string) (Artifact, error) { return base, nil }
	r := realRepo(t)
	b, err := CheckReproducible(ctx, resolve(t, r.Dir, img), opts)
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
