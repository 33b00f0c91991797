package attest

import (
	"encoding/json"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/joelhooks/shipit/release"
)

// said is the part of a statement that every claim has. It is read from the
// envelope as it is, so by itself it proves nothing.
type said struct {
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

func claimOf(b *bundle.Bundle) said {
	var s said
	if b.GetDsseEnvelope().GetPayloadType() != bundle.IntotoMediaType || json.Unmarshal(payloadOf(b), &s) != nil {
		return said{}
	}
	return s
}

func (s said) names(digest string) bool {
	for _, one := range s.Subject {
		if "sha256:"+one.Digest["sha256"] == digest {
			return true
		}
	}
	return false
}

func (s said) digests() string {
	var all []string
	for _, one := range s.Subject {
		all = append(all, release.ShortDigest("sha256:"+one.Digest["sha256"]))
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
