package attest_test

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
)

type entry struct {
	header  tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(0, 0)}, content}
}

// image has one layer for each list of entries.
func image(t *testing.T, config v1.Config, layers ...[]entry) v1.Image {
	t.Helper()
	img, err := mutate.Config(empty.Image, config)
	require.NoError(t, err)
	for _, entries := range layers {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, e := range entries {
			e.header.Size = int64(len(e.content))
			require.NoError(t, w.WriteHeader(&e.header))
			_, err := io.WriteString(w, e.content)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(t, err)
	}
	return img
}

func TestCompareRebuild(t *testing.T) {
	base := []entry{file("bin/bun", "elf")}
	source := []entry{file("app/a.ts", "one"), file("app/b.ts", "two")}
	config := v1.Config{Entrypoint: []string{"bun", "a.ts"}, Env: []string{"A=1"}}
	recorded := image(t, config, base, source)
	changed := func(change func(e []entry) []entry) v1.Image {
		return image(t, config, base, change(append([]entry{}, source...)))
	}
	for _, tc := range []struct {
		name    string
		rebuilt v1.Image
		want    string
	}{
		{"the same", image(t, config, base, source), "no difference"},
		{"other content", changed(func(e []entry) []entry { e[1].content = "TWO"; return e }),
			"layer 2: app/b.ts: content: recorded sha256:3fc4ccfe7458 (3 bytes), rebuilt sha256:a1a8a8cbbed4 (3 bytes)"},
		{"an added file", changed(func(e []entry) []entry { return append([]entry{e[0], file("app/aa.ts", "")}, e[1]) }),
			"layer 2: app/aa.ts: present: recorded no, rebuilt yes"},
		{"a file that is gone", changed(func(e []entry) []entry { return e[1:] }),
			"layer 2: app/a.ts: present: recorded yes, rebuilt no"},
		{"a file at the end that is gone", changed(func(e []entry) []entry { return e[:1] }),
			"layer 2: app/b.ts: present: recorded yes, rebuilt no"},
		{"a mode", changed(func(e []entry) []entry { e[0].header.Mode = 0o755; return e }),
			"layer 2: app/a.ts: mode: recorded 644, rebuilt 755"},
		{"a time", changed(func(e []entry) []entry { e[0].header.ModTime = time.Unix(1, 0); return e }),
			"layer 2: app/a.ts: time: recorded 1970-01-01T00:00:00Z, rebuilt 1970-01-01T00:00:01Z"},
		{"a missing layer", image(t, config, base), "config: rootfs.diff_ids: count: recorded 2, rebuilt 1"},
		{"another environment", image(t, v1.Config{Entrypoint: config.Entrypoint, Env: []string{"A=2"}}, base, source),
			`config: config.Env: value: recorded ["A=1"], rebuilt ["A=2"]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := attest.CompareRebuild(recorded, tc.rebuilt)
			require.NoError(t, err)
			require.Equal(t, tc.want, got.String())
			require.Equal(t, tc.want == "no difference", got.Same())
		})
	}

	t.Run("an index is compared platform by platform", func(t *testing.T) {
		arm := changed(func(e []entry) []entry { e[0].content = "arm"; return e })
		index := func(second v1.Image) v1.ImageIndex {
			return mutate.AppendManifests(empty.Index, add(recorded, "amd64"), add(second, "arm64"))
		}
		got, err := attest.CompareRebuildIndex(index(recorded), index(recorded))
		require.NoError(t, err)
		require.True(t, got.Same())
		got, err = attest.CompareRebuildIndex(index(recorded), index(arm))
		require.NoError(t, err)
		require.Equal(t, "linux/arm64", got.Platform)
		require.Equal(t, "app/a.ts", got.Path)
		got, err = attest.CompareRebuildIndex(index(recorded), mutate.AppendManifests(empty.Index, add(recorded, "amd64")))
		require.NoError(t, err)
		require.Equal(t, attest.Difference{Platform: "linux/arm64", Field: "present", Recorded: "yes", Rebuilt: "no"}, got)
	})
}

func add(img v1.Image, arch string) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
}
