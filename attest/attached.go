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
	maxAttached     = 1000                                  // bundles of one image that are looked at
	atOnce          = 8                                     // bundles read at the same time
)

// candidate is one bundle that claims something of an image.
type candidate struct {
	id     string         // the digest it is kept under, or its place among stored ones
	raw    []byte         // as it was read
	bundle *bundle.Bundle // nil if it could not be read or understood
	fault  string         // why it could not be understood
	unread error          // why it could not be read
	label  string         // what it says it is, if that is not wanted; it was not read then
}

// attached reads the bundles of an image whose predicate type is, or may be, one
// of those wanted. What says of itself that it is something else is not read;
// that is a short cut, and what is read is checked by its signed content. An unreadable bundle is a candidate with its error: anyone
// with write access may attach rubbish, and that must not hide what is good.
func (n *Notary) attached(ctx context.Context, d name.Digest, wanted []string) ([]candidate, error) {
	opts, err := n.remote(ctx)
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
		if says := desc.Annotations[ociremote.BundlePredicateType]; says == "" || slices.Contains(wanted, says) {
			found = append(found, desc)
		} else {
			all = append(all, candidate{id: desc.Digest.String(), label: says})
		}
	}
	if len(found) > maxAttached {
		return nil, fmt.Errorf("%d bundles are attached, more than %d: remove those that are not yours", len(found), maxAttached)
	}
	read := make([]*candidate, len(found))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, desc := range found {
		group.Go(func() error {
			read[i] = n.read.get(d.Context().Digest(desc.Digest.String()), opts)
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

// readOnce keeps the bundles that were read: what has a digest never changes.
type readOnce struct {
	mu   sync.Mutex
	kept map[string]*candidate
}

func (r *readOnce) get(ref name.Digest, opts []remote.Option) *candidate {
	r.mu.Lock()
	c, have := r.kept[ref.String()]
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
	if r.kept == nil {
		r.kept = map[string]*candidate{}
	}
	r.kept[ref.String()] = c
	return c
}

// readCandidate returns nil for what is no bundle at all: other tools attach
// their own things.
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

// bundleLayer is the only layer of a bundle's manifest, nil if ref is something else.
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
		c.fault = fmt.Sprintf("is larger than %d MiB", maxBundle>>20)
		return
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(c.raw); err != nil {
		c.fault = "is no sigstore bundle"
		return
	}
	if !b.MinVersion("v0.3") {
		c.fault = "is a sigstore bundle of a version before 0.3"
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

// registry shares connections and tokens over all calls.
type registry struct {
	puller *remote.Puller
	pusher *remote.Pusher
}

func (n *Notary) remote(ctx context.Context) ([]remote.Option, error) {
	r, err := n.registry.get(func() (registry, error) {
		puller, err := remote.NewPuller(n.opt.RemoteOptions...)
		if err != nil {
			return registry{}, err
		}
		pusher, err := remote.NewPusher(n.opt.RemoteOptions...)
		return registry{puller, pusher}, err
	})
	if err != nil {
		return nil, fmt.Errorf("registry options: %w", err)
	}
	own := []remote.Option{remote.WithContext(ctx), remote.Reuse(r.puller), remote.Reuse(r.pusher)}
	return append(append([]remote.Option{}, n.opt.RemoteOptions...), own...), nil
}
