package host

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// file is one entry of a layer in tests.
func file(name, body string) tarred {
	return tarred{h: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body: body}
}

func symlink(name, target string) tarred {
	return tarred{h: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}}
}

func dir(name string) tarred {
	return tarred{h: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

type tarred struct {
	h    tar.Header
	body string
}

func layerOf(t *testing.T, entries ...tarred) layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.h.Size = int64(len(e.body))
		require.NoError(t, w.WriteHeader(&e.h))
		_, err := io.WriteString(w, e.body)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	sum := sha256.Sum256(buf.Bytes())
	return layer{
		DiffID: "sha256:" + hex.EncodeToString(sum[:]),
		Open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
	}
}

// flat is the flattened tree as its own lists tell it, and every body.
func flat(t *testing.T, layers ...layer) (entries, bodies string) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, flatten(t.Context(), &out, layers))
	r := tar.NewReader(&out)
	var text strings.Builder
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, text.String()
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			require.Zero(t, h.Mode&0o222, "files are read-only")
		}
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		switch {
		case h.Name == "./"+entriesFile:
			entries = string(body)
		case h.Typeflag == tar.TypeReg && !strings.HasPrefix(h.Name, "./.shipit"):
			text.WriteString(h.Name + "=" + string(body) + " ")
		}
	}
}

func TestLayersMakeOneTree(t *testing.T) {
	for _, c := range []struct {
		name    string
		layers  func(t *testing.T) []layer
		entries string
		bodies  string
	}{
		{"a file above replaces the one below", func(t *testing.T) []layer {
			return []layer{layerOf(t, file("a/x", "old"), file("a/y", "y")), layerOf(t, file("a/x", "new"))}
		}, "d ./a\nf ./a/x\nf ./a/y\n", "./a/x=new ./a/y=y "},
		{"a whiteout hides a file, and a folder with all below it", func(t *testing.T) []layer {
			return []layer{layerOf(t, file("a/x", "x"), file("b/c/d", "d"), file("keep", "k")), layerOf(t, file("a/.wh.x", ""), file(".wh.b", ""))}
		}, "f ./keep\n", "./keep=k "},
		{"an opaque folder hides what is below, not what comes with it", func(t *testing.T) []layer {
			return []layer{layerOf(t, file("a/x", "x")), layerOf(t, file("a/.wh..wh..opq", ""), file("a/y", "y"))}
		}, "d ./a\nf ./a/y\n", "./a/y=y "},
		{"a link above hides the folder below", func(t *testing.T) []layer {
			return []layer{layerOf(t, file("a/x", "x")), layerOf(t, symlink("a", "/etc"))}
		}, "l ./a -> /etc\n", ""},
		{"a folder above hides the link below", func(t *testing.T) []layer {
			return []layer{layerOf(t, symlink("a", "/etc")), layerOf(t, file("a/passwd", "mine"))}
		}, "d ./a\nf ./a/passwd\n", "./a/passwd=mine "},
		{"leading slashes and dots stay inside, and executables are known", func(t *testing.T) []layer {
			run := file("/bin/run", "#!")
			run.h.Mode = 0o4755
			return []layer{layerOf(t, dir("./"), dir("./bin/"), run)}
		}, "d ./bin\nx ./bin/run\n", "./bin/run=#! "},
		{"a hard link comes after its file", func(t *testing.T) []layer {
			return []layer{layerOf(t, file("a", "a"), tarred{h: tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}})}
		}, "f ./a\nf ./b\n", "./a=a "},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, bodies := flat(t, c.layers(t)...)
			require.Equal(t, c.entries, entries)
			require.Equal(t, c.bodies, bodies)
		})
	}
}

func TestALayerThatMayNotBeUnpackedIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		layer  func(t *testing.T) layer
		reason string
	}{
		{"a path that leads out", func(t *testing.T) layer { return layerOf(t, file("a/../../etc/passwd", "")) }, "leads out"},
		{"a write through a link of its own", func(t *testing.T) layer {
			return layerOf(t, symlink("a", "/etc"), file("a/passwd", ""))
		}, "leads through a"},
		{"a hard link to a path outside", func(t *testing.T) layer {
			return layerOf(t, tarred{h: tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "../../etc/shadow"}})
		}, "leads out"},
		{"a hard link to nothing", func(t *testing.T) layer {
			return layerOf(t, tarred{h: tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "etc/shadow"}})
		}, "hard link"},
		{"a device", func(t *testing.T) layer {
			return layerOf(t, tarred{h: tar.Header{Typeflag: tar.TypeBlock, Name: "sda"}})
		}, "special file"},
		{"a file twice", func(t *testing.T) layer { return layerOf(t, file("a", "1"), file("a", "2")) }, "twice"},
		{"shipit's own notes", func(t *testing.T) layer { return layerOf(t, file(".shipit/manifest", "")) }, "shipit's own"},
		{"a name with a line break", func(t *testing.T) layer { return layerOf(t, file("a\nf ./b", "")) }, "line break"},
		{"content that is not of its diffID", func(t *testing.T) layer {
			l := layerOf(t, file("a", "a"))
			l.DiffID = "sha256:" + strings.Repeat("0", 64)
			return l
		}, "its content is sha256:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fault *layerError
			require.ErrorAs(t, flatten(t.Context(), io.Discard, []layer{c.layer(t)}), &fault)
			require.Contains(t, fault.Error(), c.reason)
		})
	}
}
