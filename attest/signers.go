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

// signers are those that are believed: by key, and by certificate.
type signers struct {
	keys       []trust
	identities []func(ctx context.Context) (trust, error) // reads a trusted root, so only when a certificate is met
	labels     []string
}

// verdict is what a good bundle says and who signed it.
type verdict struct {
	predicateType string
	signer        string
}

// believed are the signers that the policy names.
func (n *Notary) believed() (signers, error) {
	keys, err := n.policyKeys()
	if err != nil {
		return signers{}, err
	}
	s := signers{keys: keys}
	if p := n.cfg.Policy; p.Identity != "" {
		s.add(p.Identity+" of "+p.Issuer, func(ctx context.Context) (trust, error) { return n.trustIdentity(ctx, p.Identity, p.Issuer) })
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

// errForeign says that none of the signers made a bundle.
var errForeign = errors.New("not signed by a signer that is believed, or altered since")

// judge verifies one candidate and says what is wrong with it, in the order in
// which a person would ask. An error says that it could not be found out.
func (s signers) judge(ctx context.Context, c candidate, digest string) (verdict, *Candidate, error) {
	if c.label != "" {
		return verdict{}, &Candidate{ID: c.id, Predicate: c.label, Reason: OtherPredicate, Detail: "is no claim that is asked for"}, nil
	}
	if c.bundle == nil {
		return verdict{}, &Candidate{ID: c.id, Reason: Malformed, Detail: c.fault}, nil
	}
	says := claimOf(c.bundle)
	reject := func(r Reason, detail string) (verdict, *Candidate, error) {
		return verdict{}, &Candidate{ID: c.id, Predicate: says.PredicateType, Reason: r, Detail: detail}, nil
	}
	if says.PredicateType == "" {
		return reject(Malformed, "holds no in-toto statement")
	}
	if !says.names(digest) {
		return reject(OtherDigest, "speaks of "+says.digests()+", not of this digest")
	}
	got, err := s.verify(ctx, c.bundle, digest)
	if errors.Is(err, errForeign) {
		return reject(ForeignSigner, err.Error())
	}
	return got, nil, err
}

// verify returns the predicate type and the signer of a bundle that one of the
// signers made for digest.
func (s signers) verify(ctx context.Context, b *bundle.Bundle, digest string) (verdict, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil || len(raw) != 32 {
		return verdict{}, fmt.Errorf("%q is no sha256 digest", digest)
	}
	trusts, err := s.forBundle(ctx, b)
	if err != nil {
		return verdict{}, err
	}
	last := errForeign
	for _, t := range trusts {
		result, signer, err := t.check(b, verify.WithArtifactDigest("sha256", raw))
		if err == nil && result.Statement != nil {
			return verdict{predicateType: result.Statement.GetPredicateType(), signer: signer}, nil
		}
		if err != nil && b.GetVerificationMaterial().GetPublicKey() == nil {
			last = fmt.Errorf("%w (%s)", errForeign, err.Error())
		}
	}
	return verdict{}, last
}

// forBundle picks the signers that could have made a bundle: a certificate is
// not asked of keys, so that what a key signed needs no trusted root.
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
