package attest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// signers are trusted signers, by public key or by the identity in a certificate.
type signers struct {
	keys       []trust
	identities []func(ctx context.Context) (trust, error) // reads a trusted root, so called only for a bundle with a certificate
	labels     []string
}

// verdict is the predicate type of a valid bundle and who signed it.
type verdict struct {
	predicateType string
	signer        string
}

// trustedSigners are the signers that the policy names.
func (a *Attestor) trustedSigners() (signers, error) {
	keys, err := a.policyKeys()
	if err != nil {
		return signers{}, err
	}
	s := signers{keys: keys}
	if p := a.cfg.Policy; p.Identity != "" {
		s.add(p.Identity+" of "+p.Issuer, func(ctx context.Context) (trust, error) { return a.trustIdentity(ctx, p.Identity, p.Issuer) })
	}
	return s, nil
}

func (s *signers) add(label string, identity func(context.Context) (trust, error)) {
	s.labels = append(s.labels, label)
	s.identities = append(s.identities, identity)
}

func (s signers) names() []string {
	var all []string
	for _, k := range s.keys {
		all = append(all, k.name)
	}
	return append(all, s.labels...)
}

// errUnknownSigner says that none of the trusted signers signed a bundle.
var errUnknownSigner = errors.New("not signed by a trusted signer, or altered since")

// verifyCandidate verifies the signature of one candidate. A nil rejection means
// that it is valid; an error, that this could not be determined.
func (s signers) verifyCandidate(ctx context.Context, c candidate, digest string) (verdict, *Rejection, error) {
	if c.label != "" {
		return verdict{}, &Rejection{ID: c.id, Predicate: c.label, Reason: OtherPredicate, Detail: "its predicate type is not required"}, nil
	}
	if c.bundle == nil {
		return verdict{}, &Rejection{ID: c.id, Reason: Malformed, Detail: c.invalid}, nil
	}
	st := statementIn(c.bundle)
	reject := func(r Reason, detail string) (verdict, *Rejection, error) {
		return verdict{}, &Rejection{ID: c.id, Predicate: st.PredicateType, Reason: r, Detail: detail}, nil
	}
	if st.PredicateType == "" {
		return reject(Malformed, "holds no in-toto statement")
	}
	if !st.names(digest) {
		return reject(OtherDigest, "is about "+st.digests()+", not about this digest")
	}
	got, err := s.verify(ctx, c.bundle, digest)
	if errors.Is(err, errUnknownSigner) {
		return reject(ForeignSigner, err.Error())
	}
	return got, nil, err
}

// verify returns the predicate type and the signer of a bundle that one of the
// signers made for digest.
func (s signers) verify(ctx context.Context, b *bundle.Bundle, digest string) (verdict, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil || len(raw) != 32 {
		return verdict{}, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	trusts, err := s.forBundle(ctx, b)
	if err != nil {
		return verdict{}, err
	}
	last := errUnknownSigner
	for _, t := range trusts {
		result, signer, err := t.check(b, verify.WithArtifactDigest("sha256", raw))
		if err == nil && result.Statement != nil {
			return verdict{predicateType: result.Statement.GetPredicateType(), signer: signer}, nil
		}
		if err != nil && b.GetVerificationMaterial().GetPublicKey() == nil {
			last = fmt.Errorf("%w (%s)", errUnknownSigner, err.Error())
		}
	}
	return verdict{}, last
}

// forBundle picks the signers that could have signed a bundle: for one that a key
// signed only keys, so that it needs no trusted root.
func (s signers) forBundle(ctx context.Context, b *bundle.Bundle) ([]trust, error) {
	if b.GetVerificationMaterial().GetPublicKey() != nil {
		return s.keys, nil
	}
	var all []trust
	for _, identity := range s.identities {
		t, err := identity(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}
