package pipeline

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tarEntry is an entry of a layer: a file unless it is something else.
type tarEntry struct {
	name string
	kind byte // of archive/tar; 0 is a file
	mode fs.FileMode
	link string
	data []byte
}

// layerOf is the layer that makes the folder after of the folder before, at a path of the
// image.
func layerOf(t *testing.T, before, after, at string) (out []tarEntry) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(before, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(before, p)
		there, statErr := os.Lstat(filepath.Join(after, rel))
		if err == nil && (statErr != nil || there.IsDir() != d.IsDir()) {
			out = append(out, tarEntry{name: path.Join(at, path.Dir(rel), ".wh."+path.Base(rel))})
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		return err
	}))
	require.NoError(t, filepath.WalkDir(after, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(after, p)
		e := tarEntry{name: path.Join(at, rel), mode: info.Mode().Perm()}
		switch {
		case d.IsDir():
			e.kind = tar.TypeDir
		case d.Type()&fs.ModeSymlink != 0:
			e.kind = tar.TypeSymlink
			e.link, err = os.Readlink(p)
		default:
			e.data, err = os.ReadFile(p)
		}
		out = append(out, e)
		return err
	}))
	return out
}

// writeArchive writes an OCI image with the layers as one tar file, as an engine does.
func writeArchive(t *testing.T, at string, layers ...[]tarEntry) {
	t.Helper()
	var files []tarEntry
	blob := func(data []byte) string {
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		files = append(files, tarEntry{name: "blobs/sha256/" + name, data: data})
		return fmt.Sprintf(`"digest":"sha256:%s","size":%d`, name, len(data))
	}
	var list []string
	for _, l := range layers {
		list = append(list, `{"mediaType":"application/vnd.oci.image.layer.v1.tar",`+blob(tarOf(t, l))+`}`)
	}
	manifest := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",` + blob([]byte("{}")) + `},"layers":[` + strings.Join(list, ",") + `]}`
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",` + blob([]byte(manifest)) + `}]}`
	files = append(files, tarEntry{name: "index.json", data: []byte(index)})
	require.NoError(t, os.WriteFile(at, tarOf(t, files), 0o600))
}

func tarOf(t *testing.T, entries []tarEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: int64(e.mode), Linkname: e.link, Size: int64(len(e.data))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := io.Copy(w, bytes.NewReader(e.data))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}
