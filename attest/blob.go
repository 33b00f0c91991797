package attest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// SignBlob signs bytes that are no image, such as a record of the ledger, and
// returns the bundle to keep beside them. Under mode none it returns nil.
func (n *Notary) SignBlob(ctx context.Context, data []byte) ([]byte, error) {
	if !n.Signs() {
		return nil, nil
	}
	payload, err := json.Marshal(statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []subject{{Digest: map[string]string{"sha256": hexSHA256(data)}}},
		PredicateType: RecordType,
		Predicate:     struct{}{},
	})
	if err != nil {
		return nil, err
	}
	signed, err := n.signPayload(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("sign record: %w", err)
	}
	return signed, nil
}

// VerifyBlob holds a bundle that SignBlob made against the policy's signers and
// returns who signed. Without a policy it succeeds and names nobody.
func (n *Notary) VerifyBlob(ctx context.Context, data, signed []byte) (signer string, err error) {
	if !n.Demands() {
		return "", nil
	}
	digest := "sha256:" + hexSHA256(data)
	c := candidate{id: "kept beside it", raw: signed}
	c.parse()
	believed, err := n.believed()
	if err != nil {
		return "", err
	}
	got, rejected, err := believed.judge(ctx, c, digest)
	if err != nil {
		return "", fmt.Errorf("verify record: %w", err)
	}
	if rejected == nil && got.predicateType != RecordType {
		rejected = &Candidate{ID: c.id, Predicate: got.predicateType, Reason: OtherPredicate, Detail: "is no signature of a record"}
	}
	if rejected != nil {
		return "", &UntrustedError{Subject: "record " + digest, Missing: []string{RecordType}, Candidates: []Candidate{*rejected}, Signers: believed.names()}
	}
	return got.signer, nil
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
