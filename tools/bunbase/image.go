// Package bunbase makes the base image of the sample monorepo, bun on the C
// library and nothing else, without any container registry: bun comes from its
// npm package, the C library from this machine. The same bun and the same
// library give the same digest. It also fetches bun and pnpm as programs.
package bunbase

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// format changes when the image is put together in another way.
const format = "1"

// uid is who the image runs as.
const uid = 1000

// Image gives the base image for linux/amd64: /usr/local/bin/bun, the shared
// libraries it needs, CA certificates, users root and bun (uid 1000), and a
// /tmp for all. It is kept in the user's cache; making it takes a few seconds
// and fetches 40 MB. It needs npm, and a Linux on amd64 with glibc.
func Image(ctx context.Context) (v1.Image, error) {
	libraries, err := findLibraries()
	if err != nil {
		return nil, fmt.Errorf("bun base image: %w", err)
	}
	base := rootFS(libraries)
	key, err := base.key()
	if err != nil {
		return nil, fmt.Errorf("bun base image: %w", err)
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "bunbase-"+key)
	unlock, err := cluster.Lock(ctx, "bunbase", nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if img, err := load(dir); err == nil {
		return img, nil
	}
	if err := os.RemoveAll(dir); err != nil { // of a build that was cut short
		return nil, err
	}
	bun, err := fetchBun(ctx, "linux", "amd64")
	if err != nil {
		return nil, err
	}
	img, err := assemble(base, tree{{name: "usr/local/bin/bun", mode: 0o755, from: bun}, {name: "usr/local/bin/bunx", link: "bun"}})
	if err != nil {
		return nil, fmt.Errorf("bun base image: %w", err)
	}
	return store(dir, img)
}

// assemble makes an image with a layer for each tree.
func assemble(trees ...tree) (v1.Image, error) {
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, t := range trees {
		text, err := t.tar()
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
			tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "shipit tools/bunbase"}}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", uid, uid),
		Env:  []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/bun"},
		Cmd:  []string{"bun", "--no-install"},
	}
	return mutate.ConfigFile(img, config)
}

func load(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, errors.New("the cache of the image is not whole")
	}
	return index.Image(manifest.Manifests[0].Digest)
}

func store(dir string, img v1.Image) (v1.Image, error) {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	if err := path.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
		return nil, err
	}
	return load(dir)
}

// tree is the content of one layer.
type tree []file

// file is a regular file with the content of text or of the file from, a
// symbolic link if link is set, a folder if its name ends with a slash.
type file struct {
	name, text, from, link string
	mode                   int64
	owner                  int
}

func (f file) content() ([]byte, error) {
	if f.from != "" {
		return os.ReadFile(f.from)
	}
	return []byte(f.text), nil
}

// key names the image by its content and the version of bun.
func (t tree) key() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, format, BunVersion)
	for _, f := range t {
		text, err := f.content()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %o %d %s %d\n%s", f.name, f.mode, f.owner, f.link, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// tar writes the tree by name, without times.
func (t tree) tar() ([]byte, error) {
	sort.Slice(t, func(i, j int) bool { return t[i].name < t[j].name })
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range t {
		text, err := f.content()
		if err != nil {
			return nil, err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(text)), Uid: f.owner, Gid: f.owner,
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		case f.name[len(f.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}
