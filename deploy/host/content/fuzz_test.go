package content

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/hosttest"
)

// FuzzLayer makes layers of any entries, and looks at the tree that is written:
// nothing in it leads out, nothing is a device, nothing is there twice.
func FuzzLayer(f *testing.F) {
	f.Add("a/b\nc", "x\n../../etc/passwd", []byte("01"), "a", "", []byte("5"))
	f.Add("../a\n/b\na/../../c", "\n", []byte("000"), "a/.wh.b\n.wh..wh..opq", "", []byte("00"))
	f.Add("a\na/b", "/etc\n", []byte("20"), "a\na", "b\nb", []byte("11"))
	f.Add("dev\nb\nc", "", []byte("346"), ".shipit/entries\n./\n", "", []byte("000"))
	f.Add("a\\\nb\tc", "a", []byte("01"), ".wh.", "", []byte("0"))
	f.Fuzz(func(t *testing.T, lowNames, lowLinks string, lowKinds []byte, highNames, highLinks string, highKinds []byte) {
		low, ok := fuzzedLayer(t, lowNames, lowLinks, lowKinds)
		high, too := fuzzedLayer(t, highNames, highLinks, highKinds)
		if !ok || !too {
			return
		}
		var out bytes.Buffer
		if _, err := flatten(t.Context(), &out, []Layer{low, high}, nil); err != nil {
			return
		}
		seen := map[string]byte{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			name := strings.TrimSuffix(h.Name, "/")
			require.Equal(t, "./"+path.Clean(name), name)
			require.NotContains(t, strings.Split(name, "/"), "..")
			require.NotContains(t, seen, name, "twice")
			require.Contains(t, []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}, h.Typeflag)
			if h.Typeflag == tar.TypeLink {
				require.Equal(t, byte(tar.TypeReg), seen[h.Linkname], "a hard link to what is no file")
			}
			for dir := path.Dir(path.Clean(name)); dir != "."; dir = path.Dir(dir) {
				require.Equal(t, byte(tar.TypeDir), seen["./"+dir], "%s is written through %s", name, dir)
			}
			seen[name] = h.Typeflag
		}
	})
}

// fuzzedLayer is a layer with the given entries; false: no tar can hold them.
func fuzzedLayer(t *testing.T, names, links string, kinds []byte) (Layer, bool) {
	targets := strings.Split(links, "\n")
	var entries []hosttest.Entry
	for i, name := range strings.Split(names, "\n") {
		e := hosttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}}
		if i < len(kinds) {
			e.Header.Typeflag = kinds[i]
		}
		if i < len(targets) && (e.Header.Typeflag == tar.TypeSymlink || e.Header.Typeflag == tar.TypeLink) {
			e.Header.Linkname = targets[i]
		}
		if e.Header.Typeflag == tar.TypeReg {
			e.Body = name
		}
		if tar.NewWriter(io.Discard).WriteHeader(&tar.Header{Typeflag: e.Header.Typeflag, Name: e.Header.Name, Linkname: e.Header.Linkname, Mode: e.Header.Mode, Size: int64(len(e.Body))}) != nil {
			return Layer{}, false
		}
		entries = append(entries, e)
	}
	return layerOf(t, entries...), true
}
