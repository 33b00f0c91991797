package attest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// MadeFrom reports whether provenance says that the image that ref names by digest
// was built from the inputs with that key. The provenance must be signed by this
// signer or by one that the policy trusts. A bundle that cannot be read or verified
// proves nothing and is not an error: anybody with write access may attach one.
func (a *Attestor) MadeFrom(ctx context.Context, ref, key string) (bool, error) {
	d, err := parseDigest(ref)
	if err != nil {
		return false, err
	}
	candidates, err := a.attached(ctx, d, []string{ProvenanceType})
	if err != nil {
		return false, fmt.Errorf("look for the provenance of %s: %w", ref, err)
	}
	var trusted []signers
	for _, c := range candidates {
		if c.bundle == nil || inputsKeyOf(c.bundle) != key {
			continue
		}
		if trusted == nil {
			trusted = a.provenanceSigners(ctx)
		}
		for _, s := range trusted {
			if provenanceBy(ctx, s, c.bundle, d) {
				return true, nil
			}
		}
	}
	return false, ctx.Err()
}

// provenanceSigners are those whose provenance is trusted: this signer, if its key
// can be read, and those of the policy.
func (a *Attestor) provenanceSigners(ctx context.Context) []signers {
	all := []signers{}
	if a.Signs() {
		if own, err := a.own(ctx); err == nil {
			all = append(all, own)
		}
	}
	if a.HasPolicy() {
		if trusted, err := a.trustedSigners(); err == nil {
			all = append(all, trusted)
		}
	}
	return all
}

// provenanceBy reports whether b is provenance for d that s signed.
func provenanceBy(ctx context.Context, s signers, b *bundle.Bundle, d name.Digest) bool {
	got, err := s.verify(ctx, b, d.DigestStr())
	return err == nil && got.predicateType == ProvenanceType
}

// inputsKeyOf is the key that provenance of a build by shipit names; "" for any
// other statement.
func inputsKeyOf(b *bundle.Bundle) string {
	var p provenance
	st := statementIn(b)
	if st.PredicateType != ProvenanceType || json.Unmarshal(st.Predicate, &p) != nil || p.BuildDefinition.BuildType != buildType {
		return ""
	}
	return p.BuildDefinition.Internal.Key
}
