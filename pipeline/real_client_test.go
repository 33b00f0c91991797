package pipeline

import (
	"os/exec"
	"path/filepath"
	"testing"

	"dagger.io/dagger"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/engine"
)

func TestARealEngineHasWhatAClientBuilds(t *testing.T) {
	opts := realEngine(t)
	e, err := engine.Connect(t.Context(), engine.Options{})
	require.NoError(t, err)
	defer e.Close()
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Toolchain, img.Platforms = toolchain, []string{"linux/amd64", "linux/arm64"}
	img.Test = [][]string{{"test", "-e", "packages/system-bus/src/serve.ts"}}
	in := resolve(t, r.Dir, img)
	built, err := Publisher{Options: opts}.BuildIn(t.Context(), e.Client, in)
	require.NoError(t, err)
	want, err := Build(t.Context(), in, testOptions(t))
	require.NoError(t, err)
	require.Equal(t, want.Digest, built.Image.Digest)
	require.Equal(t, "registry.test/worker@"+want.Digest, built.Image.Reference)

	all, err := basePlatforms(want.Artifact)
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, p := range all {
		dir := t.TempDir()
		file := filepath.Join(dir, "image.tar")
		_, err = built.Container(dagger.Platform(p.name)).AsTarball().Export(t.Context(), file)
		require.NoError(t, err)
		out, err := exec.Command("tar", "-C", dir, "-xf", file).CombinedOutput()
		require.NoError(t, err, string(out))
		index, err := layout.ImageIndexFromPath(dir)
		require.NoError(t, err)
		manifest, err := index.IndexManifest()
		require.NoError(t, err)
		got, err := index.Image(manifest.Manifests[0].Digest)
		require.NoError(t, err)
		require.Equal(t, diffIDs(t, p.base), diffIDs(t, got), p.name)
		config, err := got.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, img.Entrypoint, config.Config.Entrypoint)
		require.Equal(t, "1000:1000", config.Config.User)
	}
	entries, err := built.Directory("").Entries(t.Context())
	require.NoError(t, err)
	require.Contains(t, entries, "packages/")
	_, err = e.Client.Version(t.Context())
	require.NoError(t, err, "the client is still connected")
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	config, err := img.ConfigFile()
	require.NoError(t, err)
	return config.RootFS.DiffIDs
}
