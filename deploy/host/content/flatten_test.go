package content

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/hosttest"
)

func layerOf(t *testing.T, entries ...hosttest.Entry) Layer {
	t.Helper()
	layer, diffID := hosttest.Tar(t, entries...)
	return Layer{
		DiffID: diffID,
		Open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
	}
}

// flat is the flattened tree as its own lists tell it, and every body.
func flat(t *testing.T, layers ...Layer) (entries, bodies string) {
	t.Helper()
	var out bytes.Buffer
	_, err := flatten(t.Context(), &out, layers, nil)
	require.NoError(t, err)
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
		layers  func(t *testing.T) []Layer
		entries string
		bodies  string
	}{
		{"a file above replaces the one below", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.File("a/x", "old"), hosttest.File("a/y", "y")), layerOf(t, hosttest.File("a/x", "new"))}
		}, "d ./a\nf ./a/x\nf ./a/y\n", "./a/x=new ./a/y=y "},
		{"a whiteout hides a file, and a folder with all below it", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.File("a/x", "x"), hosttest.File("b/c/d", "d"), hosttest.File("keep", "k")), layerOf(t, hosttest.File("a/.wh.x", ""), hosttest.File(".wh.b", ""))}
		}, "f ./keep\n", "./keep=k "},
		{"an opaque folder hides what is below, not what comes with it", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.File("a/x", "x")), layerOf(t, hosttest.File("a/.wh..wh..opq", ""), hosttest.File("a/y", "y"))}
		}, "d ./a\nf ./a/y\n", "./a/y=y "},
		{"a link above hides the folder below", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.File("a/x", "x")), layerOf(t, hosttest.Symlink("a", "/etc"))}
		}, "l ./a -> /etc\n", ""},
		{"a folder above hides the link below", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.Symlink("a", "/etc")), layerOf(t, hosttest.File("a/passwd", "mine"))}
		}, "d ./a\nf ./a/passwd\n", "./a/passwd=mine "},
		{"leading slashes and dots stay inside, and executables are known", func(t *testing.T) []Layer {
			run := hosttest.File("/bin/run", "#!")
			run.Header.Mode = 0o4755
			return []Layer{layerOf(t, hosttest.Dir("./"), hosttest.Dir("./bin/"), run)}
		}, "d ./bin\nx ./bin/run\n", "./bin/run=#! "},
		{"a hard link comes after its file", func(t *testing.T) []Layer {
			return []Layer{layerOf(t, hosttest.File("a", "a"), hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}})}
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
		layer  func(t *testing.T) Layer
		reason string
	}{
		{"a path that leads out", func(t *testing.T) Layer { return layerOf(t, hosttest.File("a/../../etc/passwd", "")) }, "leads out"},
		{"a write through a link of its own", func(t *testing.T) Layer {
			return layerOf(t, hosttest.Symlink("a", "/etc"), hosttest.File("a/passwd", ""))
		}, "leads through a"},
		{"a hard link to a path outside", func(t *testing.T) Layer {
			return layerOf(t, hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "../../etc/shadow"}})
		}, "leads out"},
		{"a hard link to nothing", func(t *testing.T) Layer {
			return layerOf(t, hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "etc/shadow"}})
		}, "hard link"},
		{"a device", func(t *testing.T) Layer {
			return layerOf(t, hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "sda"}})
		}, "special file"},
		{"a file twice", func(t *testing.T) Layer { return layerOf(t, hosttest.File("a", "1"), hosttest.File("a", "2")) }, "twice"},
		{"shipit's own notes", func(t *testing.T) Layer { return layerOf(t, hosttest.File(".shipit/manifest", "")) }, "reserved for shipit"},
		{"a name with a line break", func(t *testing.T) Layer { return layerOf(t, hosttest.File("a\nf ./b", "")) }, "line break"},
		{"content that is not of its diffID", func(t *testing.T) Layer {
			l := layerOf(t, hosttest.File("a", "a"))
			l.DiffID = "sha256:" + strings.Repeat("0", 64)
			return l
		}, "its content is sha256:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fault *layerError
			_, err := flatten(t.Context(), io.Discard, []Layer{c.layer(t)}, nil)
			require.ErrorAs(t, err, &fault)
			require.Contains(t, fault.Error(), c.reason)
		})
	}
}

// zeros is a layer with a file of n zero bytes, made while it is read.
func zeros(n int64) Layer {
	return Layer{DiffID: "sha256:" + strings.Repeat("0", 64), Open: func(context.Context) (io.ReadCloser, error) {
		out, in := io.Pipe()
		go func() {
			w := tar.NewWriter(in)
			err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: n})
			if err == nil {
				_, err = io.CopyN(w, endless{}, n)
			}
			in.CloseWithError(err)
		}()
		return out, nil
	}}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestALayerThatExpandsWithoutBoundIsRefused(t *testing.T) {
	var sent counter
	f := newFlattener(&sent)
	f.bytesLeft = 1 << 20
	err := f.layer(t.Context(), zeros(1<<40), 0)
	var fault *layerError
	require.ErrorAs(t, err, &fault)
	require.ErrorContains(t, err, "unpacks to more than")
	require.LessOrEqual(t, int64(sent), int64(1<<20), "no more was sent to the machine")

	f = newFlattener(io.Discard)
	f.entriesLeft = 2
	require.ErrorContains(t, f.layer(t.Context(), layerOf(t, hosttest.File("a", ""), hosttest.File("b", ""), hosttest.File("c", "")), 0), "more than")
}

// counter is how much was written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
