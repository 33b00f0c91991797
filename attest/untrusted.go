package attest

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// shown is how many bundles an error tells of.
const shown = 5

// Reason is why a bundle does not count.
type Reason string

const (
	Malformed      Reason = "malformed"       // no sigstore bundle, or no in-toto statement in it
	OtherDigest    Reason = "other-digest"    // it speaks of another image
	ForeignSigner  Reason = "foreign-signer"  // not signed by anyone the policy names, or altered since
	OtherPredicate Reason = "other-predicate" // well signed, but it claims something else
	OtherSource    Reason = "other-source"    // provenance of another repository
	OtherBranch    Reason = "other-branch"    // provenance of a commit that the branch does not contain
)

// Candidate is a bundle that was looked at and why it does not count.
type Candidate struct {
	ID        string // the digest it is kept under, or its place among stored ones
	Predicate string // what it claims to be; unsigned words if the signer is foreign
	Reason    Reason
	Detail    string
}

// UntrustedError says that a policy is not fulfilled: what is missing, and what
// was wrong with each bundle that was found.
type UntrustedError struct {
	Subject    string   // the image or record
	Missing    []string // predicate types that no good bundle claims
	Candidates []Candidate
	Signers    []string // whom the policy believes
}

func (e *UntrustedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not trusted: no valid %s", e.Subject, strings.Join(shortNames(e.Missing), ", "))
	if len(e.Candidates) == 0 {
		b.WriteString("; nothing is attached to it")
	}
	for i, c := range e.Candidates {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Candidates)-shown)
			break
		}
		fmt.Fprintf(&b, "; bundle %s (%s): %s", release.ShortDigest(c.ID), shortName(c.Predicate), c.Detail)
	}
	return b.String()
}

// Hint is what to do next.
func (e *UntrustedError) Hint() string {
	believed := strings.Join(e.Signers, ", ")
	switch e.mostTelling() {
	case ForeignSigner:
		return "the policy believes " + believed + "; if the signer is yours, add its public key to signing.policy.keys and keep the old one until nothing signed by it runs"
	case OtherDigest:
		return "a signature was copied from another image, or the digest was swapped: build and sign this commit again"
	case OtherPredicate:
		return "a claim is no signature: sign the image itself (shipit build, or cosign sign), as " + believed
	case OtherSource:
		return "the image was built from another repository: correct signing.policy.repository, or do not run it"
	case OtherBranch:
		return "merge the commit into the branch that signing.policy.branch names, and release that"
	}
	return "sign it as " + believed + ": set signing.mode and run shipit build"
}

// mostTelling is the reason that brings the user furthest: the one of the
// bundle that came nearest to being good.
func (e *UntrustedError) mostTelling() Reason {
	rank := []Reason{OtherBranch, OtherSource, OtherDigest, ForeignSigner, OtherPredicate}
	for _, r := range rank {
		for _, c := range e.Candidates {
			if c.Reason == r {
				return r
			}
		}
	}
	return Malformed
}

func shortNames(predicates []string) []string {
	out := make([]string, 0, len(predicates))
	for _, p := range predicates {
		out = append(out, shortName(p))
	}
	return out
}

func shortName(predicate string) string {
	for short, long := range predicateNames() {
		if long == predicate {
			return short
		}
	}
	if predicate == "" {
		return "unknown"
	}
	return predicate
}
