package attest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// SignBlob signs a record of the ledger and returns the bundle to store beside it;
// nil if signing.mode is none.
func (a *Attestor) SignBlob(ctx context.Context, data []byte) ([]byte, error) {
	if !a.Signs() {
		return nil, nil
	}
	payload, err := json.Marshal(statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []subject{{Digest: map[string]string{"sha256": hexSHA256(data)}}},
		PredicateType: recordType,
		Predicate:     struct{}{},
	})
	if err != nil {
		return nil, err
	}
	signed, err := a.signPayload(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("sign record: %w", err)
	}
	return signed, nil
}

// VerifyBlob checks a bundle that SignBlob made against the policy's signers and
// returns who signed. Without a policy it succeeds and returns "".
func (a *Attestor) VerifyBlob(ctx context.Context, data, signed []byte) (signer string, err error) {
	if !a.HasPolicy() {
		return "", nil
	}
	digest := "sha256:" + hexSHA256(data)
	c := candidate{id: "stored beside it", raw: signed}
	c.parse()
	trusted, err := a.trustedSigners()
	if err != nil {
		return "", err
	}
	got, rejected, err := trusted.verifyCandidate(ctx, c, digest)
	if err != nil {
		return "", fmt.Errorf("verify record: %w", err)
	}
	if rejected == nil && got.predicateType != recordType {
		rejected = &Rejection{ID: c.id, Predicate: got.predicateType, Reason: OtherPredicate, Detail: "is not a signature of a record"}
	}
	if rejected != nil {
		return "", &UntrustedError{Subject: "record " + digest, Missing: []string{recordType}, Rejections: []Rejection{*rejected}, Signers: trusted.names()}
	}
	return got.signer, nil
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
