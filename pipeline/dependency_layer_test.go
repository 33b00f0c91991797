package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// dependencyBuild is a repository whose image an install alone makes, and how it is built.
func dependencyBuild(t *testing.T) (r *sample.Repo, opts Options, build func(Options) []layer) {
	t.Helper()
	r = sample.New(t, sample.Options{})
	fakePnpm(t, `printf '#!/bin/sh\n# %s\n' "$PWD" > node_modules/.pnpm/made/shim; ln -s "$PWD/node_modules/.pnpm/made/shim" node_modules/link; touch node_modules/.modules.yaml`)
	img := workerImage()
	img.Run = [][]string{{"pnpm", "install", "--frozen-lockfile"}}
	opts = testOptions(t)
	return r, opts, func(opts Options) []layer {
		t.Helper()
		in := resolve(t, r.Dir, img)
		b, err := Build(t.Context(), in, opts)
		require.NoError(t, err)
		store, err := openCache(opts.CacheDir)
		require.NoError(t, err)
		made, ok := store.load(in.Key)
		require.True(t, ok)
		manifest, err := b.Artifact.(v1.Image).Manifest()
		require.NoError(t, err)
		layers := made.Layers[b.Platforms[0]]
		require.Equal(t, manifest.Layers[len(manifest.Layers)-2].Digest, layers[0].Hash)
		require.Equal(t, "dependencies", layers[0].Content)
		return layers
	}
}

func TestTheLayerOfAnInstallIsWrittenOnce(t *testing.T) {
	r, opts, build := dependencyBuild(t)
	first := build(opts)
	written, err := os.Stat(first[0].file)
	require.NoError(t, err)

	r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
	second := build(opts)
	require.Equal(t, first[0].Hash, second[0].Hash)
	require.NotEqual(t, first[1].Hash, second[1].Hash)
	again, err := os.Stat(second[0].file)
	require.NoError(t, err)
	require.True(t, os.SameFile(written, again), "it is not written again")

	// The same bytes come out where nothing is known.
	cold := opts
	cold.CacheDir, cold.NoCache = t.TempDir(), true
	require.Equal(t, hashes(second), hashes(build(cold)))
}

func TestALayerOfAnInstallThatIsGoneIsWrittenAgain(t *testing.T) {
	r, opts, build := dependencyBuild(t)
	first := build(opts)
	require.NoError(t, os.Remove(first[0].file))
	r.Commit("source", map[string]string{worker + "/src/serve.ts": "// changed\n"})
	second := build(opts)
	require.Equal(t, first[0].Hash, second[0].Hash)
	require.FileExists(t, second[0].file)
}

func TestTheLayerOfAnotherInstallIsAnotherOne(t *testing.T) {
	r, opts, build := dependencyBuild(t)
	first := build(opts)
	fakePnpm(t, "echo other > node_modules/.pnpm/made/shim")
	r.Commit("dependency", map[string]string{".npmrc": "strict-peer-dependencies=false\n"})
	require.NotEqual(t, first[0].Hash, build(opts)[0].Hash)
}

func TestWhatACommandMayHaveChangedHasNoKnownLayer(t *testing.T) {
	r := sample.New(t, sample.Options{})
	fakePnpm(t, "true")
	img := workerImage()
	img.Run = [][]string{{"pnpm", "install"}, {"sh", "-c", "cp packages/system-bus/src/serve.ts node_modules/.pnpm/made/copy"}}
	opts := testOptions(t)
	for _, text := range []string{"// one\n", "// two\n"} {
		r.Commit("source", map[string]string{worker + "/src/serve.ts": text})
		b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, text, fileOf(t, b, "app/node_modules/.pnpm/made/copy"))
	}
	entries, err := filepath.Glob(filepath.Join(opts.CacheDir, "builds", "dependencies-*"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func hashes(layers []layer) (out []string) {
	for _, l := range layers {
		out = append(out, l.Hash.String()+" "+l.Diff.String())
	}
	return out
}

func TestWhatIsCommittedInNodeModulesIsInTheirLayer(t *testing.T) {
	r, opts, _ := dependencyBuild(t)
	img := workerImage()
	img.Run = [][]string{{"pnpm", "install", "--frozen-lockfile"}}
	at := worker + "/fixtures/node_modules/made/index.js"
	for _, text := range []string{"// one\n", "// two\n"} {
		r.Commit("fixture", map[string]string{at: text})
		b, err := Build(t.Context(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, text, fileOf(t, b, "app/"+at))
	}
}
