package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Pull reads the layers of the image that ref names, lowest first, and gives
// each as a tar stream to dst. Of an index it takes the image for platform
// ("linux/amd64"); "" takes the only one. A layer is in a temporary file, and
// is known to be the one that its digest names, before dst sees it; that it
// unpacks to its diffID is known only when dst has returned, so what was
// written must not be used if Pull returns an error.
func (c *Client) Pull(ctx context.Context, ref, platform string, dst func(layer int, diffID v1.Hash, tar io.Reader) error) error {
	image, err := c.imageFor(ctx, ref, platform)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return c.reading(ctx, ref, err)
	}
	layers, err := image.Layers()
	if err != nil {
		return c.reading(ctx, ref, err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return &CorruptError{Ref: ref, Detail: fmt.Sprintf("%d layers, %d diffIDs", len(layers), len(config.RootFS.DiffIDs))}
	}
	for i, layer := range layers {
		diffID := config.RootFS.DiffIDs[i]
		err := c.unpack(ctx, ref, layer, diffID, func(tar io.Reader) error { return dst(i, diffID, tar) })
		if err != nil {
			return err
		}
	}
	return nil
}

// imageFor picks the image for a platform.
// ImageFor reads the image that ref names; of an index, the one for platform
// ("linux/amd64"), or for a platform that it does not have the only one or the
// first for the same architecture: content that is no program runs anywhere.
func (c *Client) ImageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	_, arch, _ := strings.Cut(platform, "/")
	var err error
	for _, p := range []string{platform, "linux/" + arch, ""} {
		var image v1.Image
		if image, err = c.imageFor(ctx, ref, p); err == nil {
			return image, nil
		}
	}
	return nil, err
}

func (c *Client) imageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return nil, err
	}
	if image, ok := a.(v1.Image); ok {
		return image, nil
	}
	var want *v1.Platform
	if platform != "" {
		if want, err = v1.ParsePlatform(platform); err != nil {
			return nil, fmt.Errorf("platform %q: %s", platform, oneLine(err.Error()))
		}
	}
	var found []v1.Image
	err = eachImage(a, func(p *v1.Platform, image v1.Image) error {
		if want == nil || (p != nil && p.Satisfies(*want)) {
			found = append(found, image)
		}
		return nil
	})
	if err != nil {
		return nil, c.reading(ctx, ref, err)
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%s has no image for %s", ref, platform)
	case len(found) > 1 && want == nil:
		return nil, fmt.Errorf("%s has images for %d platforms: one must be named", ref, len(found))
	}
	return found[0], nil
}

// unpack spools a layer, checks it, and hands its content on.
func (c *Client) unpack(ctx context.Context, ref string, layer v1.Layer, diffID v1.Hash, dst func(io.Reader) error) error {
	spool, err := os.CreateTemp("", "shipit-layer-*")
	if err != nil {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	if err := c.download(ctx, ref, layer, spool); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	content, err := decompress(spool)
	if err != nil {
		return &CorruptError{Ref: ref, Detail: oneLine(err.Error())}
	}
	defer content.Close()
	sum := sha256.New()
	tee := io.TeeReader(content, sum)
	if err := dst(tee); err != nil {
		return err
	}
	// A reader of tar stops at its end mark; the diffID covers what follows too.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return &CorruptError{Ref: ref, Detail: oneLine(err.Error())}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diffID.Hex {
		return &CorruptError{Ref: ref, Detail: fmt.Sprintf("a layer unpacks to sha256:%s, not to its diffID %s", got, diffID)}
	}
	return nil
}

// decompress unpacks gzip and zstd, told by their first bytes, and passes on a
// layer that is not compressed.
func decompress(blob io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(blob, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// download fetches a layer's compressed bytes and checks their digest. A
// connection that breaks in the middle is tried again from the start.
func (c *Client) download(ctx context.Context, ref string, layer v1.Layer, spool *os.File) error {
	digest, err := layer.Digest()
	if err != nil {
		return c.reading(ctx, ref, err)
	}
	for try := 1; ; try++ {
		got, err := fetch(layer, spool)
		switch {
		case err == nil && got == digest.Hex:
			return nil
		case err == nil:
			return &CorruptError{Ref: ref, Detail: fmt.Sprintf("blob %s has the bytes of sha256:%s", digest, got)}
		case try == tries || !broke(ctx, err):
			return c.reading(ctx, ref, err)
		}
		if err := c.sleep(ctx, backoff(try)); err != nil {
			return fmt.Errorf("pull %s: %w", ref, err)
		}
	}
}

// fetch copies a layer's compressed bytes over the spool and returns their SHA-256.
func fetch(layer v1.Layer, spool *os.File) (string, error) {
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if err := spool.Truncate(0); err != nil {
		return "", err
	}
	blob, err := layer.Compressed()
	if err != nil {
		return "", err
	}
	defer blob.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(spool, sum), blob); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// broke reports whether a transfer ended in the middle, which says nothing
// against the next one.
func broke(ctx context.Context, err error) bool {
	var disk *os.PathError
	return ctx.Err() == nil && typed(err) == nil && !errors.As(err, &disk) && !mismatch(err) && passing(err)
}

// mismatch recognises the library's errors for bytes under a wrong digest;
// their type is internal to it.
func mismatch(err error) bool {
	return strings.Contains(err.Error(), "error verifying") || strings.Contains(err.Error(), "does not match requested digest")
}
