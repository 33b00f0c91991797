package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is a v1.Image or a v1.ImageIndex.
type Artifact interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

// head is the descriptor that r names; an absent one is a *NotFoundError.
func (c *Client) head(ctx context.Context, s *session, r name.Reference) (v1.Descriptor, error) {
	d, err := remote.Head(r, s.options(ctx)...)
	if err == nil {
		return *d, nil
	}
	var answer *transport.Error
	if errors.As(err, &answer) && !refuses(answer) {
		return v1.Descriptor{}, c.explain(ctx, s, r.Name(), err)
	}
	if answer == nil && typed(err) != nil {
		return v1.Descriptor{}, c.explain(ctx, s, r.Name(), err)
	}
	// The response to a HEAD has no body and so no reason for a refusal, and some
	// registries omit the digest. A GET has both.
	got, err := remote.Get(r, s.options(ctx)...)
	if err != nil {
		return v1.Descriptor{}, c.explain(ctx, s, r.Name(), err)
	}
	return got.Descriptor, nil
}

// Artifact is the image or index that ref names, by tag or by digest. An absent one is
// a *NotFoundError. The methods of the Artifact read from the registry, within ctx,
// and verify digests.
func (c *Client) Artifact(ctx context.Context, ref string) (Artifact, error) {
	r, s, err := c.reader(ctx, ref)
	if err != nil {
		return nil, err
	}
	got, err := remote.Get(r, s.options(ctx)...)
	if err != nil {
		return nil, c.explain(ctx, s, r.Name(), err)
	}
	var a Artifact
	switch {
	case got.MediaType.IsIndex():
		a, err = got.ImageIndex()
	case got.MediaType.IsImage():
		a, err = got.Image()
	default:
		return nil, fmt.Errorf("%s is neither an image nor an index: %q", ref, got.MediaType)
	}
	if err != nil {
		return nil, c.explain(ctx, s, r.Name(), err)
	}
	return a, nil
}

// Find is the digest that ref names, and the other digests by which a runtime may
// report the image: those of every platform's manifest and config.
func (c *Client) Find(ctx context.Context, ref string) (digest string, aliases []string, err error) {
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	hash, err := a.Digest()
	if err != nil {
		return "", nil, c.reading(ctx, ref, err)
	}
	aliases, err = digestsBelow(a)
	return hash.String(), aliases, c.reading(ctx, ref, err)
}

// digestsBelow lists the digests below an artifact's own: those of every
// platform's manifest and config, in the index's order.
func digestsBelow(a Artifact) ([]string, error) {
	top, err := a.Digest()
	if err != nil {
		return nil, err
	}
	seen := map[v1.Hash]bool{top: true}
	var digests []string
	err = eachImage(a, func(_ *v1.Platform, image v1.Image) error {
		manifest, err := image.Digest()
		if err != nil {
			return err
		}
		config, err := image.ConfigName()
		if err != nil {
			return err
		}
		for _, d := range []v1.Hash{manifest, config} {
			if !seen[d] {
				seen[d] = true
				digests = append(digests, d.String())
			}
		}
		return nil
	})
	return digests, err
}

// Platforms lists what the image or index runs on, such as "linux/arm64". An image that
// names no platform is left out.
func (c *Client) Platforms(ctx context.Context, ref string) ([]string, error) {
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return nil, err
	}
	var platforms []string
	err = eachImage(a, func(p *v1.Platform, image v1.Image) error {
		of, err := platformOf(p, image)
		if err == nil && of.OS != unknown {
			platforms = append(platforms, of.String())
		}
		return err
	})
	return platforms, c.reading(ctx, ref, err)
}

// eachImage calls f for every image of an artifact, with its platform in the index;
// nil outside an index. Attestations, which builders list in an index with the
// platform "unknown", are left out.
func eachImage(a Artifact, f func(*v1.Platform, v1.Image) error) error {
	switch a := a.(type) {
	case v1.Image:
		return f(nil, a)
	case v1.ImageIndex:
		manifest, err := a.IndexManifest()
		if err != nil {
			return err
		}
		for _, d := range manifest.Manifests {
			if d.Platform != nil && d.Platform.OS == unknown {
				continue
			}
			if err := eachChild(a, d, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachChild(index v1.ImageIndex, d v1.Descriptor, f func(*v1.Platform, v1.Image) error) error {
	switch {
	case d.MediaType.IsImage():
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		return f(d.Platform, image)
	case d.MediaType.IsIndex():
		child, err := index.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		return eachImage(child, f)
	}
	return nil
}

// reader parses a reference and opens a session to pull from its repository.
func (c *Client) reader(ctx context.Context, ref string) (name.Reference, *session, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.session(ctx, r.Context(), pull)
	return r, s, err
}

// reading explains an error of a method of an artifact.
func (c *Client) reading(ctx context.Context, ref string, err error) error {
	return c.explainError(ctx, pull, ref, err)
}
