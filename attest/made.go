package attest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// MadeFrom reports whether provenance by this signer, or by one that the policy
// believes, says that the image that ref names by digest was built from the
// inputs of that key. What is attached and cannot be read or verified proves
// nothing, and is no error: anybody with write access may attach it.
func (n *Notary) MadeFrom(ctx context.Context, ref, key string) (bool, error) {
	d, err := parseDigest(ref)
	if err != nil {
		return false, err
	}
	candidates, err := n.attached(ctx, d, []string{ProvenanceType})
	if err != nil {
		return false, fmt.Errorf("look for the provenance of %s: %w", ref, err)
	}
	var vouching []signers
	for _, c := range candidates {
		if c.bundle == nil || inputsKeyOf(c.bundle) != key {
			continue
		}
		if vouching == nil {
			vouching = n.vouching(ctx)
		}
		for _, s := range vouching {
			if madeBy(ctx, s, c.bundle, d) {
				return true, nil
			}
		}
	}
	return false, ctx.Err()
}

// vouching are those whose provenance is believed: this signer, if its key is at
// hand, and those of the policy.
func (n *Notary) vouching(ctx context.Context) []signers {
	all := []signers{}
	if n.Signs() {
		if own, err := n.own(ctx); err == nil {
			all = append(all, own)
		}
	}
	if n.Demands() {
		if believed, err := n.believed(); err == nil {
			all = append(all, believed)
		}
	}
	return all
}

func madeBy(ctx context.Context, s signers, b *bundle.Bundle, d name.Digest) bool {
	got, err := s.verify(ctx, b, d.DigestStr())
	return err == nil && got.predicateType == ProvenanceType
}

// inputsKeyOf is the key that provenance of shipit's own builds names; "" for any
// other claim.
func inputsKeyOf(b *bundle.Bundle) string {
	var p provenance
	claim := claimOf(b)
	if claim.PredicateType != ProvenanceType || json.Unmarshal(claim.Predicate, &p) != nil || p.BuildDefinition.BuildType != buildType {
		return ""
	}
	return p.BuildDefinition.Internal.Key
}
