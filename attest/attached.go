package attest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"golang.org/x/sync/errgroup"
)

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle" // the version follows
	maxBundle       = 32 << 20                              // bytes; an SBOM of 20,000 packages has about 8 MiB
	maxAttached     = 1000                                  // bundles that are read of one image
	maxReads        = 8                                     // bundles read at the same time
)

// candidate is one bundle that is attached to an image or stored with a record. It
// is not verified.
type candidate struct {
	id      string         // its digest in the registry, or its position among stored bundles
	raw     []byte         // as it was read
	bundle  *bundle.Bundle // nil if it could not be read or parsed
	invalid string         // why it could not be parsed
	unread  error          // why it could not be read
	label   string         // predicate type by its annotation, if not wanted; then it was not read
}

// attached reads the bundles of an image whose predicate type may be one of those
// wanted; nil: all. A bundle whose annotation names another predicate type is not read: that
// saves requests and proves nothing, because the signed content is what is
// verified later. An unreadable bundle becomes a candidate with its error: anyone
// with write access may attach one, and it must not hide the valid ones.
func (a *Attestor) attached(ctx context.Context, d name.Digest, wanted []string) ([]candidate, error) {
	opts, err := a.remote(ctx)
	if err != nil {
		return nil, err
	}
	index, err := ociremote.Referrers(d, "", ociremote.WithRemoteOptions(opts...))
	if err != nil {
		return nil, fmt.Errorf("list what is attached: %w", err)
	}
	var all []candidate
	var found []v1.Descriptor
	for _, desc := range index.Manifests {
		if label := desc.Annotations[ociremote.BundlePredicateType]; label == "" || wanted == nil || slices.Contains(wanted, label) {
			found = append(found, desc)
		} else {
			all = append(all, candidate{id: desc.Digest.String(), label: label})
		}
	}
	if len(found) > maxAttached {
		return nil, fmt.Errorf("%d bundles are attached, more than %d: remove those that are not yours", len(found), maxAttached)
	}
	read := make([]*candidate, len(found))
	var group errgroup.Group
	group.SetLimit(maxReads)
	for i, desc := range found {
		group.Go(func() error {
			read[i] = a.read.get(d.Context().Digest(desc.Digest.String()), opts)
			return nil
		})
	}
	_ = group.Wait() // each candidate carries its own error
	for _, c := range read {
		if c != nil {
			all = append(all, *c)
		}
	}
	return all, ctx.Err()
}

// bundleCache holds the bundles that were read, by reference: content under a
// digest never changes.
type bundleCache struct {
	mu     sync.Mutex
	cached map[string]*candidate
}

func (r *bundleCache) get(ref name.Digest, opts []remote.Option) *candidate {
	r.mu.Lock()
	c, have := r.cached[ref.String()]
	r.mu.Unlock()
	if have {
		return c
	}
	c = readCandidate(ref, opts)
	if c != nil && c.unread != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cached == nil {
		r.cached = map[string]*candidate{}
	}
	r.cached[ref.String()] = c
	return c
}

// readCandidate returns nil for an artifact that is not a bundle: other tools
// attach their own.
func readCandidate(ref name.Digest, opts []remote.Option) *candidate {
	c := &candidate{id: ref.DigestStr()}
	layer, err := bundleLayer(ref, opts)
	if err != nil {
		c.unread = err
		return c
	}
	if layer == nil {
		return nil
	}
	content, err := layer.Uncompressed()
	if err != nil {
		c.unread = err
		return c
	}
	defer content.Close()
	c.raw, c.unread = io.ReadAll(io.LimitReader(content, maxBundle+1))
	if c.unread == nil {
		c.parse()
	}
	return c
}

// bundleLayer is the only layer of a bundle's manifest; nil if ref is not a bundle.
func bundleLayer(ref name.Digest, opts []remote.Option) (v1.Layer, error) {
	desc, err := remote.Get(ref, opts...)
	if err != nil {
		return nil, err
	}
	if !desc.MediaType.IsImage() {
		return nil, nil
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != 1 {
		return nil, nil
	}
	mediaType, err := layers[0].MediaType()
	if err != nil || !strings.HasPrefix(string(mediaType), bundleMediaType) {
		return nil, err
	}
	return layers[0], nil
}

func (c *candidate) parse() {
	if len(c.raw) > maxBundle {
		c.invalid = fmt.Sprintf("is larger than %d MiB", maxBundle>>20)
		return
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(c.raw); err != nil {
		c.invalid = "is not a Sigstore bundle"
		return
	}
	if !b.MinVersion("v0.3") {
		c.invalid = "is a Sigstore bundle of a version before 0.3"
		return
	}
	c.bundle = &b
}

// payloadOf is the signed statement as it was written; nil if there is none.
func payloadOf(b *bundle.Bundle) []byte {
	return b.GetDsseEnvelope().GetPayload()
}

// unreadable joins the errors of candidates that could not be read.
func unreadable(all []candidate) error {
	var errs []error
	for _, c := range all {
		if c.unread != nil {
			errs = append(errs, fmt.Errorf("read bundle %s: %w", c.id, c.unread))
		}
	}
	return errors.Join(errs...)
}

// registry shares connections and tokens between all calls.
type registry struct {
	puller *remote.Puller
	pusher *remote.Pusher
}

func (a *Attestor) remote(ctx context.Context) ([]remote.Option, error) {
	r, err := a.registry.get(func() (registry, error) {
		puller, err := remote.NewPuller(a.opt.RemoteOptions...)
		if err != nil {
			return registry{}, err
		}
		pusher, err := remote.NewPusher(a.opt.RemoteOptions...)
		return registry{puller, pusher}, err
	})
	if err != nil {
		return nil, fmt.Errorf("registry options: %w", err)
	}
	return slices.Concat(a.opt.RemoteOptions, []remote.Option{remote.WithContext(ctx), remote.Reuse(r.puller), remote.Reuse(r.pusher)}), nil
}
