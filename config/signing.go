package config

import (
	"fmt"
	"regexp"
)

func validateSigning(s Signing, fail failFunc) {
	if s.Mode == "key" && s.Key == "" {
		fail("signing.key", "is missing", "a file, or env:NAME")
	}
	if s.Mode == "keyless" {
		validateKeyless(s, fail)
	}
	if s.Policy != nil {
		validatePolicy(*s.Policy, fail)
	}
}

// validateKeyless refuses a mixture of public and private services: one trusted
// root vouches for all of them.
func validateKeyless(s Signing, fail failFunc) {
	const together = "fulcio and rekor are given together, or not at all for Sigstore's public ones"
	if s.FulcioURL == "" && s.RekorURL != "" {
		fail("signing.fulcio", "is missing", together)
	}
	if s.RekorURL == "" && s.FulcioURL != "" {
		fail("signing.rekor", "is missing", together)
	}
	if s.FulcioURL != "" && s.TrustedRoot == "" {
		fail("signing.trustedRoot", "is missing", "Sigstore's public root does not vouch for "+s.FulcioURL)
	}
	if s.RekorVersion < 0 || s.RekorVersion > 2 {
		fail("signing.rekorVersion", fmt.Sprintf("%d is neither 1 nor 2", s.RekorVersion), "")
	}
	if s.RekorVersion == 2 && s.TimestampURL == "" {
		fail("signing.timestamp", "is missing", "version 2 of Rekor does not witness the time")
	}
}

func validatePolicy(p Policy, fail failFunc) {
	if len(p.Keys) == 0 && p.Identity == "" && p.Issuer == "" {
		fail("signing.policy", "names neither keys nor an identity", "nobody could fulfil it")
	}
	if p.Identity == "" && p.Issuer != "" {
		fail("signing.policy.identity", "is missing", "identity and issuer are given together")
	}
	if p.Issuer == "" && p.Identity != "" {
		fail("signing.policy.issuer", "is missing", "identity and issuer are given together")
	}
	if _, err := regexp.Compile(p.Identity); err != nil {
		fail("signing.policy.identity", fmt.Sprintf("%q is no regular expression", p.Identity), "")
	}
}
