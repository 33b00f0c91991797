package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// VerifyOptions are what a policy may need beside the bundles.
type VerifyOptions struct {
	// Ancestor reports whether branch contains commit; required if the policy names
	// a branch and Recorded is false.
	Ancestor func(ctx context.Context, commit, branch string) (bool, error)
	// Recorded: the bundles come from the record of a release that already satisfied
	// the policy, so no git is needed (rollback).
	Recorded bool
}

// Verified is the evidence that satisfied the policy.
type Verified struct {
	Bundles []Bundle // one for each required predicate, in their order; empty without a policy
	Commit  string   // that provenance names; empty if the policy does not require provenance
}

// Bundle is one verified attestation, in serialisable form.
type Bundle struct {
	Predicate string          `json:"predicateType"`
	Signer    string          `json:"signer"` // the key file, or identity and issuer
	JSON      json.RawMessage `json:"bundle"`
}

// Verify checks the bundles attached to the image (by digest) against the policy.
// Without a policy it returns at once. *UntrustedError: not satisfied; any other
// error: could not be determined.
func (a *Attestor) Verify(ctx context.Context, ref string, opt VerifyOptions) (Verified, error) {
	if !a.HasPolicy() {
		return Verified{}, nil
	}
	d, err := parseDigest(ref)
	if err != nil {
		return Verified{}, err
	}
	var candidates []candidate
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error { return a.exists(reading, d) })
	group.Go(func() (err error) {
		candidates, err = a.attached(reading, d, a.required)
		return err
	})
	if err := group.Wait(); err != nil {
		return Verified{}, fmt.Errorf("verify %s: %w", ref, err)
	}
	return a.verifyPolicy(ctx, evidence{subject: ref, digest: d.DigestStr(), candidates: candidates}, opt)
}

// exists reads the manifest; the client refuses bytes that do not have the digest.
func (a *Attestor) exists(ctx context.Context, d name.Digest) error {
	opts, err := a.remote(ctx)
	if err != nil {
		return err
	}
	_, err = remote.Get(d, opts...)
	return err
}

// verifyBundles is Verify with stored bundles: it needs no registry. It needs no
// Sigstore either if a key signed the bundles or signing.trustedRoot names a file.
func (a *Attestor) verifyBundles(ctx context.Context, stored [][]byte, digest string, opt VerifyOptions) (Verified, error) {
	if !a.HasPolicy() {
		return Verified{}, nil
	}
	e := evidence{subject: digest, digest: digest}
	for i, raw := range stored {
		one := candidate{id: fmt.Sprintf("%d of %d", i+1, len(stored)), raw: raw}
		one.parse()
		e.candidates = append(e.candidates, one)
	}
	return a.verifyPolicy(ctx, e, opt)
}

// evidence is every bundle that was found for one digest.
type evidence struct {
	subject    string
	digest     string
	candidates []candidate
}

// verifyPolicy looks for a valid bundle for every required predicate. Invalid
// bundles are ignored if a valid one exists.
func (a *Attestor) verifyPolicy(ctx context.Context, e evidence, opt VerifyOptions) (Verified, error) {
	if p := a.cfg.Policy; p.Branch != "" && opt.Ancestor == nil && !opt.Recorded {
		return Verified{}, fmt.Errorf("verify %s: signing.policy.branch is set (%s), but no git history is at hand", e.subject, p.Branch)
	}
	trusted, err := a.trustedSigners()
	if err != nil {
		return Verified{}, err
	}
	valid := map[string]Bundle{}
	untrusted := &UntrustedError{Subject: e.subject, Signers: trusted.names()}
	undetermined := unreadable(e.candidates)
	var verified Verified
	evaluate := func(one candidate) (verdict, *Rejection, error) {
		got, rejected, err := trusted.verifyCandidate(ctx, one, e.digest)
		if err == nil && rejected == nil {
			rejected, err = a.matchesPolicy(ctx, one, got, opt)
		}
		return got, rejected, err
	}
	for _, one := range e.candidates {
		if one.unread != nil {
			continue
		}
		got, rejected, err := evaluate(one)
		_, have := valid[got.predicateType]
		switch {
		case err != nil:
			undetermined = errors.Join(undetermined, err)
		case rejected != nil:
			untrusted.Rejections = append(untrusted.Rejections, *rejected)
		case !have:
			valid[got.predicateType] = Bundle{Predicate: got.predicateType, Signer: got.signer, JSON: one.raw}
			if got.predicateType == ProvenanceType {
				verified.Commit = originOf(one.bundle).commit
			}
		}
	}
	for _, predicate := range a.required {
		if b, ok := valid[predicate]; ok {
			verified.Bundles = append(verified.Bundles, b)
		} else {
			untrusted.Missing = append(untrusted.Missing, predicate)
		}
	}
	switch {
	case len(untrusted.Missing) == 0:
		return verified, nil
	case undetermined != nil:
		return Verified{}, fmt.Errorf("verify %s: %w (%s)", e.subject, undetermined, untrusted.Error())
	}
	return Verified{}, untrusted
}

// matchesPolicy checks a correctly signed bundle against the required predicates,
// and provenance against repository and branch.
func (a *Attestor) matchesPolicy(ctx context.Context, c candidate, got verdict, opt VerifyOptions) (*Rejection, error) {
	reject := func(r Reason, format string, args ...any) (*Rejection, error) {
		return &Rejection{ID: c.id, Predicate: got.predicateType, Reason: r, Detail: fmt.Sprintf(format, args...)}, nil
	}
	if !slices.Contains(a.required, got.predicateType) {
		return reject(OtherPredicate, "signed by %s, but its predicate type is %s", got.signer, got.predicateType)
	}
	if got.predicateType != ProvenanceType {
		return nil, nil
	}
	origin := originOf(c.bundle)
	if want := a.repository(); want != "" && !sameRepository(origin.repository, want) {
		return reject(OtherSource, "built from %q, not from %s", origin.repository, want)
	}
	branch := a.cfg.Policy.Branch
	if branch == "" || opt.Ancestor == nil {
		return nil, nil
	}
	if origin.commit == "" {
		return reject(OtherBranch, "provenance names no commit")
	}
	contained, err := opt.Ancestor(ctx, origin.commit, branch)
	if err != nil {
		return nil, fmt.Errorf("commit %s and branch %s: %w", origin.commit, branch, err)
	}
	if !contained {
		return reject(OtherBranch, "built from commit %s, which %s does not contain", origin.commit, branch)
	}
	return nil, nil
}
