package registry

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"golang.org/x/sync/errgroup"
)

// uploads is how many blobs are uploaded at once.
const uploads = 4

// send pushes the blobs and manifests of an artifact, by digest.
func (c *Client) send(ctx context.Context, s *session, a Artifact) error {
	blobs, manifests, err := contents(a)
	if err != nil {
		return fmt.Errorf("push %s: %w", s.repo.Name(), err)
	}
	meter := &meter{progress: c.progress}
	for _, b := range blobs {
		meter.total += b.size
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, b := range blobs {
		group.Go(func() error { return c.upload(inner, s, b, meter) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range manifests {
		digest, err := m.Digest()
		if err != nil {
			return fmt.Errorf("push %s: %w", s.repo.Name(), err)
		}
		if err := c.put(ctx, s, s.repo.Digest(digest.String()), m); err != nil {
			return err
		}
	}
	return nil
}

// blob is a layer or a config, with its digest and size.
type blob struct {
	v1.Layer
	digest v1.Hash
	size   int64
}

// contents lists the blobs of an artifact, each once, and its manifests, an index
// after the manifests that it lists.
func contents(a Artifact) (blobs []blob, manifests []Artifact, err error) {
	seen := map[v1.Hash]bool{}
	err = walk(a, func(m Artifact) error {
		manifests = append(manifests, m)
		image, ok := m.(v1.Image)
		if !ok {
			return nil
		}
		layers, err := image.Layers()
		if err != nil {
			return err
		}
		config, err := partial.ConfigLayer(image)
		if err != nil {
			return err
		}
		for _, layer := range append(layers, config) {
			b, keep, err := describe(layer)
			if err != nil {
				return err
			}
			if keep && !seen[b.digest] {
				seen[b.digest] = true
				blobs = append(blobs, b)
			}
		}
		return nil
	})
	return blobs, manifests, err
}

// describe reads digest and size of a layer; keep is false for one that may not be
// distributed.
func describe(layer v1.Layer) (b blob, keep bool, err error) {
	b.Layer = layer
	media, err := layer.MediaType()
	if err != nil {
		return b, false, err
	}
	if b.digest, err = layer.Digest(); err != nil {
		return b, false, err
	}
	b.size, err = layer.Size()
	return b, media.IsDistributable(), err
}

// walk visits the manifests below an artifact, and then itself.
func walk(a Artifact, visit func(Artifact) error) error {
	index, ok := a.(v1.ImageIndex)
	if !ok {
		return visit(a)
	}
	children, err := partial.Manifests(index)
	if err != nil {
		return err
	}
	for _, child := range children {
		m, ok := child.(Artifact)
		if !ok {
			return fmt.Errorf("index holds something that is neither image nor index: %T", child)
		}
		if err := walk(m, visit); err != nil {
			return err
		}
	}
	return visit(a)
}
