package attest

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// shown is how many bundles the message of an error lists.
const shown = 5

// Reason is why a bundle does not count.
type Reason string

const (
	Malformed      Reason = "malformed"       // not a Sigstore bundle, or one without an in-toto statement
	OtherDigest    Reason = "other-digest"    // it is about another image
	ForeignSigner  Reason = "foreign-signer"  // not signed by anyone the policy names, or altered since
	OtherPredicate Reason = "other-predicate" // validly signed, but its predicate type is not a required one
	OtherSource    Reason = "other-source"    // provenance of another repository
	OtherBranch    Reason = "other-branch"    // provenance of a commit that the branch does not contain
)

// Rejection is a bundle that does not count, and why.
type Rejection struct {
	ID        string // its digest in the registry, or its position among stored bundles
	Predicate string // its predicate type; not verified if the signer is foreign
	Reason    Reason
	Detail    string
}

// UntrustedError says that a policy is not satisfied: what is missing, and why each
// bundle that was found does not count.
type UntrustedError struct {
	Subject    string   // the image or record
	Missing    []string // required predicate types without a valid bundle
	Rejections []Rejection
	Signers    []string // whom the policy trusts
}

func (e *UntrustedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not trusted: no valid %s", e.Subject, strings.Join(shortNames(e.Missing), ", "))
	if len(e.Rejections) == 0 {
		b.WriteString("; nothing is attached to it")
	}
	for i, c := range e.Rejections {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Rejections)-shown)
			break
		}
		fmt.Fprintf(&b, "; bundle %s (%s): %s", release.ShortDigest(c.ID), shortName(c.Predicate), c.Detail)
	}
	return b.String()
}

// Hint is what to do next.
func (e *UntrustedError) Hint() string {
	signers := strings.Join(e.Signers, ", ")
	switch e.mostUseful() {
	case ForeignSigner:
		return "the policy trusts " + signers + "; if the signer is yours, add its public key to signing.policy.keys and keep the old one until nothing signed by it runs"
	case OtherDigest:
		return "a signature was copied from another image, or the digest was swapped: build and sign this commit again"
	case OtherPredicate:
		return "an attestation is not a signature: sign the image itself (shipit build, or cosign sign), as " + signers
	case OtherSource:
		return "the image was built from another repository: correct signing.policy.repository, or do not run it"
	case OtherBranch:
		return "merge the commit into the branch that signing.policy.branch names, and release that"
	}
	return "sign it as " + signers + ": set signing.mode and run shipit build"
}

// mostUseful is the reason of the bundle that came nearest to being accepted.
func (e *UntrustedError) mostUseful() Reason {
	rank := []Reason{OtherBranch, OtherSource, OtherDigest, ForeignSigner, OtherPredicate}
	for _, r := range rank {
		for _, c := range e.Rejections {
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
