package pipeline

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// workerImage is the sample's worker, on no base and unproven: what is built is
// looked at here, not whether it would run.
func workerImage() config.Image {
	return config.Image{
		Repository: "registry.test/worker", Package: worker, Base: scratch,
		Entrypoint: []string{"bun", "--no-install", "run", "src/serve.ts"}, Prove: config.Prove{Skip: true},
	}
}

func resolve(t *testing.T, dir string, img config.Image) Inputs {
	t.Helper()
	cfg := config.Config{Source: "https://github.com/busrig/busrig", Images: map[string]config.Image{"worker": img}}
	in, err := Resolve(context.Background(), openSource(t, dir, ""), cfg, "worker")
	require.NoError(t, err)
	return in
}

func testOptions(t *testing.T) Options {
	t.Helper()
	return Options{Builder: "embedded", CacheDir: t.TempDir(), buildRoot: filepath.Join(t.TempDir(), "build")}
}

func buildImage(t *testing.T, dir string, img config.Image) Built {
	t.Helper()
	b, err := Build(context.Background(), resolve(t, dir, img), testOptions(t))
	require.NoError(t, err)
	return b
}

// headers are the tar headers of an image's layers, by path.
func headers(t *testing.T, img v1.Image) (map[string]*tar.Header, []string) {
	t.Helper()
	layers, err := img.Layers()
	require.NoError(t, err)
	all, order := map[string]*tar.Header{}, []string{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		require.NoError(t, err)
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			all[h.Name] = h
			order = append(order, h.Name)
		}
		r.Close()
	}
	return all, order
}

func TestTheImageOfTheSample(t *testing.T) {
	r := sample.New(t, sample.Options{})
	b := buildImage(t, r.Dir, workerImage())
	img, ok := b.Artifact.(v1.Image)
	require.True(t, ok, "one platform is one image")
	require.Equal(t, []string{"linux/amd64"}, b.Platforms)

	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "1000:1000", cfg.Config.User)
	require.Equal(t, "/app/packages/system-bus", cfg.Config.WorkingDir)
	require.Equal(t, []string{"bun", "--no-install", "run", "src/serve.ts"}, cfg.Config.Entrypoint)
	require.Equal(t, map[string]string{"org.opencontainers.image.source": "https://github.com/busrig/busrig"}, cfg.Config.Labels)
	require.True(t, cfg.Created.Equal(time.Unix(0, 0)))
	mt, err := img.MediaType()
	require.NoError(t, err)
	require.Equal(t, types.OCIManifestSchema1, mt)

	files, _ := headers(t, img)
	require.Contains(t, files, "app/packages/system-bus/src/serve.ts")
	require.Equal(t, "../../../event-contract", files["app/packages/system-bus/node_modules/@busrig/event-contract"].Linkname)
	require.Equal(t, "../../../clock", files["app/packages/event-contract/node_modules/@busrig/clock"].Linkname)
	for name := range files {
		require.NotContains(t, name, "website")
	}
	require.Len(t, b.Aliases, 1, "the config's digest")
}

func TestNoCommitAndNoTimeIsInTheBytes(t *testing.T) {
	r := sample.New(t, sample.Options{})
	b := buildImage(t, r.Dir, workerImage())
	img := b.Artifact.(v1.Image)
	raw, err := img.RawConfigFile()
	require.NoError(t, err)
	manifest, err := img.RawManifest()
	require.NoError(t, err)
	sha := openSource(t, r.Dir, "").SHA
	require.NotContains(t, string(raw)+string(manifest), sha[:7])
	files, _ := headers(t, img)
	for name, h := range files {
		require.True(t, h.ModTime.Equal(time.Unix(0, 0)), name)
	}
}

func TestEveryEntryIsNormalised(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{worker + "/tool.sh": "#!/bin/sh\n"}})
	require.NoError(t, os.Symlink("tool.sh", filepath.Join(r.Dir, worker, "tool")))
	r.Commit("link", nil)
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "cd packages/system-bus && mkdir -m 700 made && touch made/b made/a && chmod 600 made/b && chmod 4711 made/a && mkdir empty"}}
	b := buildImage(t, r.Dir, img)
	files, order := headers(t, b.Artifact.(v1.Image))
	for name, mode := range map[string]int64{
		worker + "/": 0o755, worker + "/made/": 0o755, worker + "/empty/": 0o755, worker + "/made/a": 0o755,
		worker + "/made/b": 0o644, worker + "/tool.sh": 0o755, worker + "/tool": 0o777, worker + "/src/serve.ts": 0o644,
	} {
		require.Contains(t, files, "app/"+name)
		require.Equal(t, mode, files["app/"+name].Mode, name)
	}
	seen := map[string]bool{"app/": true}
	for _, name := range order {
		h := files[name]
		require.Zero(t, h.Uid+h.Gid, name)
		require.Empty(t, h.Uname+h.Gname, name)
		parent := name[:strings.LastIndex(strings.TrimSuffix(name, "/"), "/")+1]
		require.True(t, parent == "" || seen[parent], "%s comes before %s", parent, name)
		seen[name] = true
	}
	var entries []string
	for _, name := range order {
		if !strings.HasSuffix(name, "/") {
			entries = append(entries, name)
		}
	}
	require.IsIncreasing(t, entries)
}

func TestTheDigestDependsOnTheInputsAlone(t *testing.T) {
	r := sample.New(t, sample.Options{})
	want := buildImage(t, r.Dir, workerImage())
	same := func(t *testing.T, dir string) {
		t.Helper()
		got := buildImage(t, dir, workerImage())
		require.Equal(t, want.Digest, got.Digest)
		require.Equal(t, want.Key, got.Key)
	}
	t.Run("not on the folder, nor on how it was cloned", func(t *testing.T) {
		clone := filepath.Join(t.TempDir(), "deep", "er")
		r.Git("clone", "-q", "--bare", r.Dir, clone)
		same(t, clone)
	})
	t.Run("not on the working directory", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, worker, "src/serve.ts"), []byte("dirty"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, worker, "src/more.ts"), nil, 0o644))
		same(t, r.Dir)
		r.Git("checkout", "-q", ".")
		r.Git("clean", "-qfd")
	})
	t.Run("not on another package, nor on what that depends on", func(t *testing.T) {
		before := openSource(t, r.Dir, "").SHA
		lock := strings.Replace(r.Read("pnpm-lock.yaml"), "packages/website:\n    dependencies:\n", "packages/website:\n    dependencies:\n      left-pad:\n        specifier: 1.3.0\n        version: 1.3.0\n", 1)
		lock += "\npackages:\n\n  left-pad@1.3.0:\n    resolution: {integrity: sha512-x}\n\nsnapshots:\n\n  left-pad@1.3.0: {}\n"
		after := r.Commit("website", map[string]string{
			"packages/website/src/page.ts": "export {};\n", "packages/new/package.json": "{}", "pnpm-lock.yaml": lock, "docs/x.md": "x",
		})
		require.NotEqual(t, before, after)
		same(t, r.Dir)
	})
	t.Run("but on every file of the closure", func(t *testing.T) {
		r.Commit("clock", map[string]string{"packages/clock/src/index.ts": "export const nowIso = () => '';\n"})
		got := buildImage(t, r.Dir, workerImage())
		require.NotEqual(t, want.Digest, got.Digest)
		require.NotEqual(t, want.Key, got.Key)
	})
}

func TestNothingOfACacheIsInTheImage(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{"packages/system-bus/.turbo/committed": "x"}})
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "mkdir -p .next/deep/cache .out/cache && touch .next/deep/cache/x .out/cache/x .out/kept packages/system-bus/.turbo/log"}}
	img.Caches = []string{".next/deep/cache", "./.out/cache/", "packages/system-bus/.turbo", "/root/.cache"}
	headers, _ := headers(t, buildImage(t, r.Dir, img).Artifact.(v1.Image))
	var of []string
	for p := range headers {
		if strings.Contains(p, ".next") || strings.Contains(p, ".out") || strings.Contains(p, ".turbo") {
			of = append(of, p)
		}
	}
	require.ElementsMatch(t, []string{"app/.out/", "app/.out/kept"}, of)
}

func TestABuiltKeyIsNotBuiltAgain(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", "date +%N > packages/system-bus/now"}}
	opts := testOptions(t)
	in := resolve(t, r.Dir, img)
	first, err := Build(context.Background(), in, opts)
	require.NoError(t, err)
	require.False(t, first.Cached)
	second, err := Build(context.Background(), in, opts)
	require.NoError(t, err)
	require.True(t, second.Cached)
	require.Equal(t, first.Digest, second.Digest)

	t.Run("unless the cache must not be read", func(t *testing.T) {
		opts := opts
		opts.NoCache = true
		b, err := Build(context.Background(), in, opts)
		require.NoError(t, err)
		require.NotEqual(t, first.Digest, b.Digest)
	})
	t.Run("unless a layer is gone or cut short", func(t *testing.T) {
		layers, err := first.Artifact.(v1.Image).Layers()
		require.NoError(t, err)
		digest, err := layers[0].Digest()
		require.NoError(t, err)
		in := resolve(t, r.Dir, workerImage())
		_, err = Build(context.Background(), in, opts)
		require.NoError(t, err)
		for _, f := range must(filepath.Glob(filepath.Join(opts.CacheDir, "blobs/sha256/*"))) {
			require.NoError(t, os.Truncate(f, 3))
		}
		b, err := Build(context.Background(), in, opts)
		require.NoError(t, err)
		require.False(t, b.Cached, "%s", digest)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTheCacheStaysBelowItsLimit(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"oldest", "old", "new"} {
		at := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(at, make([]byte, 100), 0o644))
		when := time.Now().Add(time.Duration(i-10) * time.Hour)
		require.NoError(t, os.Chtimes(at, when, when))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "now"), make([]byte, 100), 0o644))
	require.NoError(t, trim(dir, 250))
	require.Equal(t, []string{"new", "now"}, names(t, dir))
	require.NoError(t, trim(dir, 0))
	require.Equal(t, []string{"now"}, names(t, dir), "what was just used stays")
}

func TestAPointerOfGitLFSGoesIntoNoImage(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{ // no attributes say that it is one
		worker + "/model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
	}})
	for _, run := range [][][]string{nil, {{"true"}}} {
		img := workerImage()
		img.Run = run
		_, err := Build(t.Context(), resolve(t, r.Dir, img), testOptions(t))
		f := refused(t, err)
		require.Equal(t, release.CodeLFSPointer, f.Code)
		require.Equal(t, worker+"/model.bin", f.Object)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// baseIndex is a base of two platforms with one layer each, in Docker's media types.
func baseIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	var adds []mutate.IndexAddendum
	for _, arch := range []string{"arm64", "amd64"} {
		l, err := random.Layer(64, types.DockerLayer)
		require.NoError(t, err)
		img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "base"}})
		require.NoError(t, err)
		cfg, err := img.ConfigFile()
		require.NoError(t, err)
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture = "linux", arch
		cfg.Config = v1.Config{
			Env: []string{"PATH=/bin", "A=base"}, Cmd: []string{"sh"}, Entrypoint: []string{"/entry"},
			Labels: map[string]string{"org.opencontainers.image.version": "1"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
		}
		img, err = mutate.ConfigFile(img, cfg)
		require.NoError(t, err)
		adds = append(adds, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	attestation := mutate.IndexAddendum{Add: empty.Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}}
	return mutate.AppendManifests(empty.Index, append(adds, attestation)...)
}

func TestABaseOfSeveralPlatforms(t *testing.T) {
	r := sample.New(t, sample.Options{})
	base := baseIndex(t)
	opts := testOptions(t)
	opts.Base = func(context.Context, string) (Artifact, error) { return base, nil }
	img := workerImage()
	img.Base = "registry.test/base@sha256:" + strings.Repeat("a", 64)
	img.Env = map[string]string{"A": "own", "B": "own"}

	t.Run("gives one index", func(t *testing.T) {
		b, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		require.Equal(t, []string{"linux/amd64", "linux/arm64"}, b.Platforms)
		require.Len(t, b.Aliases, 4, "two manifests and two configs")
		index := b.Artifact.(v1.ImageIndex)
		list, err := index.IndexManifest()
		require.NoError(t, err)
		require.Equal(t, types.OCIImageIndex, list.MediaType)
		require.Len(t, list.Manifests, 2)
		for _, d := range list.Manifests {
			require.Equal(t, types.OCIManifestSchema1, d.MediaType)
			one, err := index.Image(d.Digest)
			require.NoError(t, err)
			manifest, err := one.Manifest()
			require.NoError(t, err)
			require.Equal(t, types.OCIConfigJSON, manifest.Config.MediaType)
			require.Len(t, manifest.Layers, 3, "base, dependencies, source")
			for _, l := range manifest.Layers {
				require.Equal(t, types.OCILayer, l.MediaType)
			}
			cfg, err := one.ConfigFile()
			require.NoError(t, err)
			require.Equal(t, d.Platform.Architecture, cfg.Architecture)
			require.Equal(t, []string{"PATH=/bin", "A=own", "B=own"}, cfg.Config.Env)
			require.Nil(t, cfg.Config.Cmd)
			require.Nil(t, cfg.Config.ExposedPorts)
			require.NotContains(t, cfg.Config.Labels, "org.opencontainers.image.version")
			require.Len(t, cfg.History, 3)
			require.Len(t, cfg.RootFS.DiffIDs, 3)
		}
	})
	t.Run("narrowed to one is an image", func(t *testing.T) {
		img := img
		img.Platforms = []string{"linux/arm64"}
		b, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
		require.NoError(t, err)
		_, ok := b.Artifact.(v1.Image)
		require.True(t, ok)
	})
	t.Run("lacking a wanted one is an error that names both", func(t *testing.T) {
		img := img
		img.Platforms = []string{"linux/riscv64"}
		_, err := Build(context.Background(), resolve(t, r.Dir, img), opts)
		require.ErrorContains(t, err, "linux/riscv64")
		require.ErrorContains(t, err, "linux/amd64, linux/arm64")
	})
}

func TestTheCompressorInTheKeyIsTheOneInUse(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	fields := strings.Fields(compressor)
	require.Contains(t, string(mod), "github.com/"+fields[0]+" "+fields[1]+"\n")
}

// worker is the folder of the sample's package that images are made of here.
const worker = "packages/system-bus"

func openSource(t *testing.T, dir, rev string) git.Source {
	t.Helper()
	s, err := git.Open(context.Background(), dir, rev)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// refused expects a refusal with exactly one finding.
func refused(t *testing.T, err error) release.Finding {
	t.Helper()
	var r *release.Refusal
	require.ErrorAs(t, err, &r)
	require.Len(t, r.Findings, 1, "%v", err)
	return r.Findings[0]
}
