package pipeline

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The C libraries of linux, in the words of package managers.
const (
	glibc = "glibc"
	musl  = "musl"
)

// libcOf is the C library of a base, by the loader that it has; glibc if it has none,
// as a machine that brings its own runtime. The cache keeps it.
func libcOf(ctx context.Context, base v1.Image, opts Options) (string, error) {
	layers, err := base.Layers()
	if err != nil || len(layers) == 0 {
		return glibc, err
	}
	digest, err := base.Digest()
	if err != nil {
		return "", err
	}
	store, err := openCache(opts.CacheDir)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(store.dir, "libc", digest.Hex)
	if data, err := os.ReadFile(kept); err == nil && (string(data) == glibc || string(data) == musl) {
		return string(data), nil
	}
	found := glibc
	for _, l := range layers {
		name, err := loaderIn(ctx, l)
		if err != nil {
			return "", fmt.Errorf("find the C library of the base: %w", err)
		}
		if name != "" {
			found = name
			break
		}
	}
	return found, errors.Join(os.MkdirAll(filepath.Dir(kept), 0o755), os.WriteFile(kept, []byte(found), 0o644))
}

// loaderIn is the C library whose loader is in a layer; "" if none is.
func loaderIn(ctx context.Context, l v1.Layer) (string, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return "", err
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", err
		}
		switch name := path.Base(h.Name); {
		case strings.HasPrefix(name, "ld-musl-"):
			return musl, nil
		case strings.HasPrefix(name, "ld-linux"):
			return glibc, nil
		}
	}
}
