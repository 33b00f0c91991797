package ocilayout

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type file struct {
	name string
	kind byte
	link string
	text string
	mode int64
}

func tarOf(t *testing.T, files []file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		kind := f.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Typeflag: kind, Linkname: f.link, Mode: f.mode, Size: int64(len(f.text))}))
		_, err := w.Write([]byte(f.text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// archive is a file with an image of the layers.
func archive(t *testing.T, kind string, layers ...[]file) string {
	t.Helper()
	var files []file
	blob := func(data []byte) string {
		sum := sha256.Sum256(data)
		files = append(files, file{name: "blobs/sha256/" + hex.EncodeToString(sum[:]), text: string(data)})
		return fmt.Sprintf(`"digest":"sha256:%x","size":%d`, sum, len(data))
	}
	var list []string
	for _, l := range layers {
		list = append(list, `{"mediaType":"`+kind+`",`+blob(tarOf(t, l))+`}`)
	}
	manifest := `{"schemaVersion":2,"layers":[` + strings.Join(list, ",") + `]}`
	files = append(files, file{name: "index.json", text: `{"manifests":[{` + blob([]byte(manifest)) + `}]}`})
	at := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(at, tarOf(t, files), 0o600))
	return at
}

const uncompressed = "application/vnd.oci.image.layer.v1.tar"

// tree is what a folder holds: the text of files, "*" before that of an executable one,
// "/" for an empty folder, "-> x" for a link.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			if below, _ := os.ReadDir(p); len(below) == 0 {
				out[rel] = "/"
			}
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			out[rel] = "-> " + target
		default:
			data, _ := os.ReadFile(p)
			info, _ := d.Info()
			if info.Mode()&0o111 != 0 {
				data = append([]byte("*"), data...)
			}
			out[rel] = string(data)
		}
		return nil
	}))
	return out
}

func apply(t *testing.T, out string, layers ...[]file) error {
	t.Helper()
	a, err := Open(archive(t, uncompressed, layers...))
	require.NoError(t, err)
	defer a.Close()
	return a.Apply(t.Context(), "/b/app", out)
}

func TestLayersAreAppliedToAFolder(t *testing.T) {
	dir := func(name string) file { return file{name: name, kind: tar.TypeDir, mode: 0o700} }
	for _, tt := range []struct {
		name   string
		before map[string]string
		layers [][]file
		want   map[string]string
	}{
		{"what is elsewhere is left out", nil, [][]file{{dir("b/"), {name: "b/apple", text: "x"}, {name: "etc/x", text: "x"}, dir("b/app/"), {name: "b/app/a", text: "a"}}}, map[string]string{"a": "a"}},
		{"files are added and replaced, in the order of layers", map[string]string{"a": "old", "b": "stays"},
			[][]file{{{name: "b/app/a", text: "one"}}, {{name: "b/app/a", text: "two", mode: 0o755}}}, map[string]string{"a": "*two", "b": "stays"}},
		{"what was removed is gone", map[string]string{"a/x": "x", "a/y": "y", "c": "c"},
			[][]file{{{name: "b/app/a/.wh.x"}, {name: "b/app/.wh.c"}}}, map[string]string{"a/y": "y"}},
		{"a folder is emptied of what was there, not of what is new", map[string]string{"a/x": "x", "a/d/old": "o"},
			[][]file{{dir("b/app/a"), {name: "b/app/a/.wh..wh..opq"}, dir("b/app/a/d"), {name: "b/app/a/d/new", text: "n"}}}, map[string]string{"a/d/new": "n"}},
		{"a folder is emptied, whenever the layer says so", map[string]string{"a/x": "x", "a/d/old": "o"},
			[][]file{{dir("b/app/a"), dir("b/app/a/d"), {name: "b/app/a/d/new", text: "n"}, {name: "b/app/a/.wh..wh..opq"}}}, map[string]string{"a/d/new": "n"}},
		{"the folder itself was removed, and made again", map[string]string{"x": "x"},
			[][]file{{{name: "b/.wh.app"}}, {dir("b/app"), {name: "b/app/y", text: "y"}}}, map[string]string{"y": "y"}},
		{"what it is in was removed", map[string]string{"x": "x"}, [][]file{{{name: ".wh.b"}}}, map[string]string{".": "/"}},
		{"a file becomes a folder, a folder a file, a link a file", map[string]string{"f": "f", "d/x": "x", "l": "-> f"},
			[][]file{{dir("b/app/f"), {name: "b/app/f/in", text: "i"}, {name: "b/app/d", text: "d"}, {name: "b/app/l", text: "l"}}},
			map[string]string{"f/in": "i", "d": "d", "l": "l"}},
		{"links, also to what is elsewhere", nil,
			[][]file{{{name: "b/app/l", kind: tar.TypeSymlink, link: "../x"}, {name: "a", text: "first", mode: 0o755}, {name: "b/app/h", kind: tar.TypeLink, link: "a", mode: 0o755}}},
			map[string]string{"l": "-> ../x", "h": "*first"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := t.TempDir()
			for name, text := range tt.before {
				at := filepath.Join(out, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
				if target, ok := strings.CutPrefix(text, "-> "); ok {
					require.NoError(t, os.Symlink(target, at))
					continue
				}
				require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
			}
			require.NoError(t, apply(t, out, tt.layers...))
			require.Equal(t, tt.want, tree(t, out))
		})
	}
}

func TestNothingIsWrittenThroughALink(t *testing.T) {
	out, elsewhere := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(out, "l")))
	require.Error(t, apply(t, out, []file{{name: "b/app/l/x", text: "x"}}))
	require.Error(t, apply(t, out, []file{{name: "b/app/l/.wh.x"}, {name: "b/app/l/y", text: "y"}}))
	require.Equal(t, map[string]string{".": "/"}, tree(t, elsewhere))
}

func TestWhatIsNoFileIsNamed(t *testing.T) {
	require.ErrorContains(t, apply(t, t.TempDir(), []file{{name: "b/app/pipe", kind: tar.TypeFifo}}), "b/app/pipe: p--------- is not a file, folder or link")
	require.ErrorContains(t, apply(t, t.TempDir(), []file{{name: "b/app", text: "x"}}), "no folder any more")
}

func TestWhetherALayerRemovesAPath(t *testing.T) {
	a, err := Open(archive(t, uncompressed, []file{{name: "b/x", text: "x"}}, []file{{name: "b/.wh.marker"}}))
	require.NoError(t, err)
	defer a.Close()
	for at, want := range map[string]bool{"/b/marker": true, "/b/x": false, "/marker": false} {
		removes, err := a.Removes(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, want, removes, at)
	}
}

func TestAnArchiveThatCannotBeReadIsAnError(t *testing.T) {
	for name, at := range map[string]string{
		"layer": archive(t, "application/vnd.oci.image.layer.v1.tar+gzip", []file{{name: "x"}}),
		"index.json": func() string {
			at := filepath.Join(t.TempDir(), "x")
			_ = os.WriteFile(at, tarOf(t, nil), 0o600)
			return at
		}(),
	} {
		_, err := Open(at)
		require.ErrorContains(t, err, name)
	}
}
