package proof

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzUnpack unpacks a base with any entries: nothing is written outside its
// folder, and nothing of it is read from outside.
func FuzzUnpack(f *testing.F) {
	f.Add("a/b\nc", "x\n../../outside", []byte("02"))
	f.Add("../outside\n/outside\na/../../outside", "", []byte("000"))
	f.Add("a\na/outside", "..\n", []byte("20"))
	f.Add("a\na", "../outside\n", []byte("20"))
	f.Add("a\nb", "/\na/outside", []byte("21"))
	f.Add("dev\nb\nc", "", []byte("346"))
	f.Add("a\na/b\na/b", "", []byte("055"))
	f.Fuzz(func(t *testing.T, names, links string, kinds []byte) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		targets := strings.Split(links, "\n")
		for i, name := range strings.Split(names, "\n") {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}
			if i < len(kinds) {
				h.Typeflag = kinds[i]
			}
			if i < len(targets) && (h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink) {
				h.Linkname = targets[i]
			}
			body := ""
			if h.Typeflag == tar.TypeReg {
				body = "written"
			}
			h.Size = int64(len(body))
			if w.WriteHeader(h) != nil {
				return
			}
			_, err := w.Write([]byte(body))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		around := t.TempDir()
		dir, outside := filepath.Join(around, "root"), filepath.Join(around, "outside")
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(outside, []byte("untouched"), 0o600))
		_ = untar(t.Context(), &archive, dir)
		entries, err := os.ReadDir(around)
		require.NoError(t, err)
		require.Len(t, entries, 2, "something was written beside the root")
		content, err := os.ReadFile(outside)
		require.NoError(t, err)
		require.Equal(t, "untouched", string(content))
		info, err := os.Stat(outside)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
		r := rootfs{dir: dir}
		for _, name := range strings.Split(names+"\n"+links, "\n") {
			if at, err := r.at(name); err == nil {
				rel, err := filepath.Rel(dir, at)
				require.NoError(t, err)
				require.True(t, filepath.IsLocal(rel), "%q is %q", name, at)
			}
		}
	})
}
