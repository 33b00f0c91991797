package attest

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/joelhooks/shipit/release"
)

// unverifiedStatement is the part that every in-toto statement has. It is read from
// the envelope without checking the signature, so by itself it proves nothing.
type unverifiedStatement struct {
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// statementIn is empty if the bundle holds no in-toto statement.
func statementIn(b *bundle.Bundle) unverifiedStatement {
	var s unverifiedStatement
	if b.GetDsseEnvelope().GetPayloadType() != bundle.IntotoMediaType || json.Unmarshal(payloadOf(b), &s) != nil {
		return unverifiedStatement{}
	}
	return s
}

func (s unverifiedStatement) names(digest string) bool {
	return slices.ContainsFunc(s.Subject, func(one subject) bool { return "sha256:"+one.Digest["sha256"] == digest })
}

func (s unverifiedStatement) digests() string {
	var all []string
	for _, one := range s.Subject {
		all = append(all, release.ShortDigest("sha256:"+one.Digest["sha256"]))
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
