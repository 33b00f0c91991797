package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// Expect is what the caller knows and a policy needs.
type Expect struct {
	// Ancestor reports whether the policy's branch contains a commit. It must be
	// set where the policy names a branch, unless Recorded.
	Ancestor func(ctx context.Context, commit, branch string) (bool, error)
	// Recorded says that the bundles come from the record of a release that
	// fulfilled the policy when it was made, so that Ancestor may be nil: a
	// rollback needs no git.
	Recorded bool
}

// Verified is what a policy was fulfilled with.
type Verified struct {
	Bundles []Bundle // one for each demanded predicate, in their order; empty if nothing is demanded
	Commit  string   // that provenance names; empty if the policy does not demand provenance
}

// Bundle is one verified claim, in the form in which it can be kept.
type Bundle struct {
	Predicate string          `json:"predicateType"`
	Signer    string          `json:"signer"` // the key file, or identity and issuer
	JSON      json.RawMessage `json:"bundle"`
}

// Stored is the bundles as VerifyBundles takes them.
func (v Verified) Stored() [][]byte {
	var all [][]byte
	for _, b := range v.Bundles {
		all = append(all, b.JSON)
	}
	return all
}

// Verify holds what is attached to the image that ref names by digest against
// the policy. Without a policy it succeeds and reads nothing. An *UntrustedError
// says that the policy is not fulfilled; any other error, that it could not be
// found out.
func (n *Notary) Verify(ctx context.Context, ref string, expect Expect) (Verified, error) {
	if !n.Demands() {
		return Verified{}, nil
	}
	d, err := parseDigest(ref)
	if err != nil {
		return Verified{}, err
	}
	var candidates []candidate
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error { return n.held(reading, d) })
	group.Go(func() (err error) {
		candidates, err = n.attached(reading, d, n.required)
		return err
	})
	if err := group.Wait(); err != nil {
		return Verified{}, fmt.Errorf("verify %s: %w", ref, err)
	}
	return n.fulfil(ctx, claims{subject: ref, digest: d.DigestStr(), candidates: candidates}, expect)
}

// held reads the manifest; the client refuses bytes that do not have the digest.
func (n *Notary) held(ctx context.Context, d name.Digest) error {
	opts, err := n.remote(ctx)
	if err != nil {
		return err
	}
	_, err = remote.Get(d, opts...)
	return err
}

// VerifyBundles is Verify from bundles that were kept: it needs no registry, and
// no Sigstore if the bundles are signed with a key or a trusted root is at hand.
func (n *Notary) VerifyBundles(ctx context.Context, stored [][]byte, digest string, expect Expect) (Verified, error) {
	if !n.Demands() {
		return Verified{}, nil
	}
	c := claims{subject: digest, digest: digest}
	for i, raw := range stored {
		one := candidate{id: fmt.Sprintf("%d of %d", i+1, len(stored)), raw: raw}
		one.parse()
		c.candidates = append(c.candidates, one)
	}
	return n.fulfil(ctx, c, expect)
}

// claims is everything that is said of one digest.
type claims struct {
	subject    string
	digest     string
	candidates []candidate
}

// fulfil looks for a good bundle for every predicate that is demanded. A bad one
// beside a good one does no harm.
func (n *Notary) fulfil(ctx context.Context, c claims, expect Expect) (Verified, error) {
	if p := n.cfg.Policy; p.Branch != "" && expect.Ancestor == nil && !expect.Recorded {
		return Verified{}, fmt.Errorf("verify %s: signing.policy.branch is set and nothing was given to ask about %s", c.subject, p.Branch)
	}
	believed, err := n.believed()
	if err != nil {
		return Verified{}, err
	}
	good := map[string]Bundle{}
	fault := &UntrustedError{Subject: c.subject, Signers: believed.names()}
	unknown := unreadable(c.candidates)
	var verified Verified
	for _, one := range c.candidates {
		if one.unread != nil {
			continue
		}
		got, rejected, err := believed.judge(ctx, one, c.digest)
		if err == nil && rejected == nil {
			rejected, err = n.suits(ctx, one, got, expect)
		}
		_, have := good[got.predicateType]
		switch {
		case err != nil:
			unknown = errors.Join(unknown, err)
		case rejected != nil:
			fault.Candidates = append(fault.Candidates, *rejected)
		case !have:
			good[got.predicateType] = Bundle{Predicate: got.predicateType, Signer: got.signer, JSON: one.raw}
			if got.predicateType == ProvenanceType {
				verified.Commit = originOf(one.bundle).commit
			}
		}
	}
	for _, predicate := range n.required {
		if b, ok := good[predicate]; ok {
			verified.Bundles = append(verified.Bundles, b)
		} else {
			fault.Missing = append(fault.Missing, predicate)
		}
	}
	switch {
	case len(fault.Missing) == 0:
		return verified, nil
	case unknown != nil:
		return Verified{}, fmt.Errorf("verify %s: %w (%s)", c.subject, unknown, fault.Error())
	}
	return Verified{}, fault
}

// suits asks of a well signed bundle whether it is one of those demanded, and
// whether provenance names what the policy wants.
func (n *Notary) suits(ctx context.Context, c candidate, got verdict, expect Expect) (*Candidate, error) {
	reject := func(r Reason, format string, args ...any) (*Candidate, error) {
		return &Candidate{ID: c.id, Predicate: got.predicateType, Reason: r, Detail: fmt.Sprintf(format, args...)}, nil
	}
	demanded := false
	for _, predicate := range n.required {
		demanded = demanded || predicate == got.predicateType
	}
	if !demanded {
		return reject(OtherPredicate, "signed by %s, but it claims %s", got.signer, got.predicateType)
	}
	if got.predicateType != ProvenanceType {
		return nil, nil
	}
	origin := originOf(c.bundle)
	if want := n.repository(); want != "" && !sameRepository(origin.repository, want) {
		return reject(OtherSource, "built from %q, not from %s", origin.repository, want)
	}
	branch := n.cfg.Policy.Branch
	if branch == "" || expect.Ancestor == nil {
		return nil, nil
	}
	if origin.commit == "" {
		return reject(OtherBranch, "names no commit")
	}
	contained, err := expect.Ancestor(ctx, origin.commit, branch)
	if err != nil {
		return nil, fmt.Errorf("commit %s and branch %s: %w", origin.commit, branch, err)
	}
	if !contained {
		return reject(OtherBranch, "built from commit %s, which %s does not contain", origin.commit, branch)
	}
	return nil, nil
}
