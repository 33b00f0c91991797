package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

func TestABuildThatDiffersIsNamedByPathAndField(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for _, tt := range []struct{ name, script, path, field string }{
		{"content", "date +%N > packages/system-bus/now", "/app/packages/system-bus/now", "content"},
		{"link", "ln -s now-$(date +%N) packages/system-bus/link", "/app/packages/system-bus/link", "link"},
		{"presence", "touch packages/system-bus/x-$(date +%N)", "", "presence"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := workerImage()
			img.Run = [][]string{{"sh", "-c", tt.script}}
			_, err := checkReproducible(context.Background(), resolve(t, r.Dir, img), testOptions(t))
			var differs *NotReproducibleError
			require.ErrorAs(t, err, &differs)
			require.Equal(t, tt.field, differs.Field)
			require.Equal(t, "worker", differs.Image)
			if tt.path != "" {
				require.Equal(t, tt.path, differs.Path)
			}
		})
	}
	t.Run("what is the same passes", func(t *testing.T) {
		img := workerImage()
		img.Run = [][]string{{"sh", "-c", `echo "$PWD" > packages/system-bus/where; for i in 3 1 2; do echo $i > packages/system-bus/$i; done`}}
		b, err := checkReproducible(context.Background(), resolve(t, r.Dir, img), testOptions(t))
		require.NoError(t, err)
		require.NotEmpty(t, headersOf(t, b), "what it returns can still be pushed")
	})
}

func TestTheSameImageDiffersInNothing(t *testing.T) {
	img, err := mutate.Config(empty.Image, v1.Config{User: "app"})
	require.NoError(t, err)
	require.NoError(t, compareImages(img, img))
}

func headersOf(t *testing.T, b Built) map[string]*tar.Header {
	t.Helper()
	h, _ := headers(t, b.Artifact.(v1.Image))
	return h
}

func TestCompareLayers(t *testing.T) {
	file := func(name string, mode int64) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}
	}
	image := func(headers ...tar.Header) v1.Image {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, h := range headers {
			require.NoError(t, w.WriteHeader(&h))
		}
		require.NoError(t, w.Close())
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		require.NoError(t, err)
		img, err := mutate.AppendLayers(empty.Image, l)
		require.NoError(t, err)
		return img
	}
	for _, tt := range []struct {
		name, path, field string
		a, b              v1.Image
	}{
		{"mode", "/x", "mode", image(file("x", 0o644)), image(file("x", 0o755))},
		{"order", "/x", "order", image(file("x", 0o644), file("y", 0o644)), image(file("y", 0o644), file("x", 0o644))},
		{"one more at the end", "/y", "presence", image(file("x", 0o644)), image(file("x", 0o644), file("y", 0o644))},
		{"one less", "/x", "presence", image(file("x", 0o644), file("y", 0o644)), image(file("y", 0o644))},
		{"another type", "/x", "type", image(file("x", 0o644)), image(tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "y", Mode: 0o644})},
		{"owner, which has no field of its own", "the layer", "encoding", image(file("x", 0o644)), image(tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644, Uid: 7})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := compare("worker", tt.a, tt.b)
			var differs *NotReproducibleError
			require.ErrorAs(t, err, &differs)
			require.Equal(t, tt.path, differs.Path)
			require.Equal(t, tt.field, differs.Field)
		})
	}
}

func TestWhatACommandTakesFromAWarmStoreIsADifference(t *testing.T) {
	r := sample.New(t, sample.Options{})
	img := workerImage()
	img.Run = [][]string{{"sh", "-c", `s="$npm_config_store_dir"; { test -e "$s/seen" && echo warm || echo cold; } > packages/system-bus/state; mkdir -p "$s"; touch "$s/seen"`}}
	_, err := checkReproducible(t.Context(), resolve(t, r.Dir, img), testOptions(t))
	var differs *NotReproducibleError
	require.ErrorAs(t, err, &differs)
	require.Equal(t, "/app/packages/system-bus/state", differs.Path)
	require.Equal(t, "content", differs.Field)
}

func TestWhatTheSurroundingsOfABuildShowIsADifference(t *testing.T) {
	r := sample.New(t, sample.Options{})
	for _, tt := range []struct{ name, script string }{
		{"umask", "umask"},
		{"day", "date +%F"},
		{"folder, in a binary file that is not rewritten", `printf '\0%s' "$PWD"`},
		{"CPUs", "nproc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "CPUs" && runtime.NumCPU() == 1 {
				t.Skip("this machine has one CPU")
			}
			img := workerImage()
			img.Run = [][]string{{"sh", "-c", "touch packages/system-bus/a; { " + tt.script + "; } > packages/system-bus/seen"}}
			_, err := checkReproducible(t.Context(), resolve(t, r.Dir, img), testOptions(t))
			var differs *NotReproducibleError
			require.ErrorAs(t, err, &differs)
			require.Equal(t, "/app/packages/system-bus/seen", differs.Path)
			require.Equal(t, "content", differs.Field)
		})
	}
}

func TestTheLocalDayOfTheFirstBuildIsAnother(t *testing.T) {
	for hour := range 24 {
		now := time.Date(2026, 11, 28, hour, 30, 0, 0, time.UTC)
		v := surroundings(now)
		out, err := exec.Command("env", "TZ="+v.zone, "date", "-d", now.Format(time.RFC3339), "+%F").Output()
		require.NoError(t, err)
		require.NotEqual(t, "2026-11-28", strings.TrimSpace(string(out)), v.zone)
	}
}
