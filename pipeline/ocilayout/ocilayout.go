// Package ocilayout reads an OCI image that is one tar file, as an engine exports it:
// its layers, applied to a folder.
package ocilayout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Archive is the one image of a file. Close it.
type Archive struct {
	file   *os.File
	layers []*io.SectionReader // uncompressed, lowest first
}

// Open finds the layers of the image in a file.
func Open(at string) (*Archive, error) {
	f, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	a := &Archive{file: f}
	if a.layers, err = layersOf(f); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// Close closes the file.
func (a *Archive) Close() error { return a.file.Close() }

// layersOf reads the index and the manifest, which name the layers.
func layersOf(f *os.File) ([]*io.SectionReader, error) {
	parts := map[string]*io.SectionReader{}
	err := each(io.NewSectionReader(f, 0, 1<<62), func(h *tar.Header, body *io.SectionReader) error {
		parts[path.Clean(h.Name)] = body
		return nil
	})
	if err != nil {
		return nil, err
	}
	index, err := parsed(parts["index.json"], v1.ParseIndexManifest)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("index.json names %d images", len(index.Manifests))
	}
	manifest, err := parsed(parts[blob(index.Manifests[0].Digest)], v1.ParseManifest)
	if err != nil {
		return nil, fmt.Errorf("the manifest: %w", err)
	}
	var layers []*io.SectionReader
	for _, l := range manifest.Layers {
		part := parts[blob(l.Digest)]
		if part == nil || l.MediaType != types.OCIUncompressedLayer {
			return nil, fmt.Errorf("layer %s of type %s cannot be read", l.Digest, l.MediaType)
		}
		layers = append(layers, part)
	}
	return layers, nil
}

func blob(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

func parsed[T any](part *io.SectionReader, parse func(io.Reader) (*T, error)) (*T, error) {
	if part == nil {
		return nil, errors.New("is not there")
	}
	return parse(part)
}

// each calls fn with every entry of a tar, in order, and where its bytes are.
func each(r *io.SectionReader, fn func(*tar.Header, *io.SectionReader) error) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := fn(h, io.NewSectionReader(r, at, h.Size)); err != nil {
			return err
		}
	}
}

// Removes reports whether a layer says that what is at the path was removed.
func (a *Archive) Removes(ctx context.Context, at string) (bool, error) {
	found := false
	for _, l := range a.layers {
		err := each(l, func(h *tar.Header, _ *io.SectionReader) error {
			gone, _ := whiteout(clean(h.Name))
			found = found || gone == clean(at)
			return ctx.Err()
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

// clean is a name of a layer, or a path, relative to the root.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// whiteout is the path that an entry of a layer says was removed, or the folder of which
// it says that nothing of the layers below is in it.
func whiteout(name string) (gone, emptied string) {
	dir, base := path.Split(name)
	hidden, found := strings.CutPrefix(base, ".wh.")
	switch {
	case !found:
		return "", ""
	case base == ".wh..wh..opq":
		return "", path.Clean(dir)
	case strings.HasPrefix(hidden, ".wh."): // nothing else has a meaning
		return "", ""
	}
	return path.Join(dir, hidden), ""
}
