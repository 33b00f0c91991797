package release

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is what is required of every image before it runs, as the records keep
// it: what a later release requires is compared with it. nil requires nothing.
type Policy struct {
	Keys       []string `json:"keys,omitempty"`     // sha256:… of the public keys whose signatures count
	Identity   string   `json:"identity,omitempty"` // regular expression of the certificates' subjects that count
	Issuer     string   `json:"issuer,omitempty"`
	Predicates []string `json:"predicates"` // what must be signed: signature, provenance, sbom
	Repository string   `json:"repository,omitempty"`
	Branch     string   `json:"branch,omitempty"`
}

// Weaker lists what p lets pass that before did not, in words; nothing if p
// requires as much. A regular expression that changed counts as weaker: what two
// of them match cannot be compared.
func (p *Policy) Weaker(before *Policy) []string {
	if before == nil {
		return nil
	}
	if p == nil {
		return []string{"it requires no signature"}
	}
	var weaker []string
	for _, key := range p.Keys {
		if !slices.Contains(before.Keys, key) {
			weaker = append(weaker, "it believes another key, "+ShortDigest(key))
		}
	}
	if p.Identity != "" && (p.Identity != before.Identity || p.Issuer != before.Issuer) {
		weaker = append(weaker, fmt.Sprintf("it believes another identity, %s of %s", p.Identity, p.Issuer))
	}
	for _, predicate := range before.Predicates {
		if !slices.Contains(p.Predicates, predicate) {
			weaker = append(weaker, "it requires no "+predicate)
		}
	}
	if before.Repository != "" && p.Repository != before.Repository {
		weaker = append(weaker, fmt.Sprintf("it asks for the repository %q, not for %q", p.Repository, before.Repository))
	}
	if before.Branch != "" && p.Branch != before.Branch {
		weaker = append(weaker, fmt.Sprintf("it asks for the branch %q, not for %q", p.Branch, before.Branch))
	}
	return weaker
}

// WeakerPolicyError says that a release requires less of its images than the
// record before it did.
type WeakerPolicyError struct {
	Seq    int64 // the record that stood under the stronger policy
	Weaker []string
}

func (e *WeakerPolicyError) Error() string {
	return fmt.Sprintf("the signing policy is weaker than that of #%d: %s", e.Seq, strings.Join(e.Weaker, "; "))
}
