package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// imageRoot is the folder of an image that holds the repository's files.
const imageRoot = "/app"

// split separates dependencies from source, so that a change of source does not
// change the large layer. An empty part is left out.
func split(c content) []content {
	var out []content
	for _, part := range []content{
		c.only(func(e entry) bool { return workspace.InNodeModules(e.Path) }),
		c.only(func(e entry) bool { return !workspace.InNodeModules(e.Path) }),
	} {
		if len(part.Entries) > 0 {
			out = append(out, part)
		}
	}
	return out
}

// layer is one gzipped tar in the cache folder.
type layer struct {
	Hash    v1.Hash `json:"digest"`
	Diff    v1.Hash `json:"diffID"`
	Bytes   int64   `json:"size"`
	Content string  `json:"content"` // what it holds, for the image's history

	file string
}

func (l layer) Digest() (v1.Hash, error)             { return l.Hash, nil }
func (l layer) DiffID() (v1.Hash, error)             { return l.Diff, nil }
func (l layer) Size() (int64, error)                 { return l.Bytes, nil }
func (l layer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (l layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l layer) Uncompressed() (io.ReadCloser, error) { return openGzip(l.file) }

func openGzip(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// writeLayer writes the content as a layer to the file dir/sha256/<hex>. It hashes
// the tar and the compressed bytes while it writes.
func writeLayer(ctx context.Context, dir string, c content) (layer, error) {
	into := filepath.Join(dir, "sha256")
	if err := os.MkdirAll(into, 0o755); err != nil {
		return layer{}, err
	}
	f, err := os.CreateTemp(into, ".layer-*")
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()

	diff, sum := sha256.New(), sha256.New()
	out := &counter{w: io.MultiWriter(f, sum)}
	z := newGzipWriter(out, diff)
	err = writeTar(ctx, z, c)
	// What was written tells why writing failed.
	if err := errors.Join(z.Close(), err, f.Close()); err != nil {
		return layer{}, err
	}
	l := layer{Hash: sha256Hash(sum), Diff: sha256Hash(diff), Bytes: out.n, Content: "source"}
	if workspace.InNodeModules(c.Entries[0].Path) {
		l.Content = "dependencies"
	}
	l.file = filepath.Join(into, l.Hash.Hex)
	return l, os.Rename(f.Name(), l.file)
}

func sha256Hash(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// present reports whether the layer's complete file is in dir.
func (l *layer) present(dir string) bool {
	l.file = filepath.Join(dir, "sha256", l.Hash.Hex)
	info, err := os.Stat(l.file)
	return err == nil && info.Mode().Type() == fs.FileMode(0) && info.Size() == l.Bytes
}
