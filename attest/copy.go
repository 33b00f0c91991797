package attest

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"
)

// CopyAttached attaches to the image that to names by digest every bundle of the same
// image at from that it does not have, byte by byte, and returns how many: signatures,
// provenance, SBOM and what other tools have attested. Only what says where the image
// ran stays, because it ran there. Nothing is verified: a policy does that later.
func (a *Attestor) CopyAttached(ctx context.Context, from, to string) (int, error) {
	source, target, err := copied(from, to)
	if err != nil {
		return 0, err
	}
	var there, here []candidate
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() (err error) { there, err = a.attached(reading, source, nil); return err })
	group.Go(func() (err error) { here, err = a.attached(reading, target, nil); return err })
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("read what is attached to %s: %w", from, err)
	}
	if err := unreadable(there); err != nil {
		return 0, err
	}
	defer a.writing.lock(target.String())()
	count := 0
	for _, c := range there {
		if c.bundle == nil || slices.ContainsFunc(here, func(h candidate) bool { return bytes.Equal(h.raw, c.raw) }) {
			continue
		}
		predicate := statementIn(c.bundle).PredicateType
		if predicate == "" || predicate == deploymentType {
			continue
		}
		attached := func() (bool, error) { return a.has(ctx, target, c.raw) }
		if err := a.write(ctx, target, attachment{predicate, c.raw}, attached); err != nil {
			return count, fmt.Errorf("attach to %s: %w", to, err)
		}
		count++
	}
	return count, nil
}

// copied are the references of one image in two repositories.
func copied(from, to string) (source, target name.Digest, err error) {
	if source, err = parseDigest(from); err != nil {
		return source, target, err
	}
	if target, err = parseDigest(to); err == nil && source.DigestStr() != target.DigestStr() {
		err = fmt.Errorf("%s is not the image %s", to, from)
	}
	return source, target, err
}

// has reports whether a bundle is attached to an image.
func (a *Attestor) has(ctx context.Context, d name.Digest, raw []byte) (bool, error) {
	all, err := a.attached(ctx, d, nil)
	return slices.ContainsFunc(all, func(c candidate) bool { return bytes.Equal(c.raw, raw) }), err
}
