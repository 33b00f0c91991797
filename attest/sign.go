package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// statement is an in-toto statement, version 1.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// errNotSigning is returned by a signature under a configuration that does not sign.
var errNotSigning = errors.New("signing.mode is none: nothing is signed")

// Sign attaches a signature to the image that ref names by digest. A valid
// signature of the same signer is not repeated: then done is false and the bundle
// is the existing one. If signing.mode is none, Sign does nothing.
func (a *Attestor) Sign(ctx context.Context, ref string) (bundle []byte, done bool, err error) {
	if !a.Signs() {
		return nil, false, nil
	}
	d, err := parseDigest(ref)
	if err != nil {
		return nil, false, err
	}
	bundle, done, err = a.claim(ctx, d, statementOf(d, signatureType, struct{}{}))
	if err != nil {
		return nil, false, fmt.Errorf("sign %s: %w", ref, err)
	}
	return bundle, done, nil
}

// Signed reports whether this signer has signed the image that ref names by digest.
func (a *Attestor) Signed(ctx context.Context, ref string) (bool, error) {
	d, err := parseDigest(ref)
	if err != nil {
		return false, err
	}
	found, err := a.find(ctx, d, signatureType, nil)
	if err != nil {
		return false, fmt.Errorf("look for the signature of %s: %w", ref, err)
	}
	return found != nil, nil
}

// Attest attaches an attestation to the image that ref names by digest. predicate
// is encoded by encoding/json. The same attestation by the same signer is not
// repeated, as with Sign. If signing.mode is none, Attest does nothing.
func (a *Attestor) Attest(ctx context.Context, ref, predicateType string, predicate any) (bundle []byte, done bool, err error) {
	if !a.Signs() {
		return nil, false, nil
	}
	if predicateType == signatureType {
		return nil, false, fmt.Errorf("attest %s: %s is the type of signatures: use Sign", ref, predicateType)
	}
	d, err := parseDigest(ref)
	if err != nil {
		return nil, false, err
	}
	bundle, done, err = a.claim(ctx, d, statementOf(d, predicateType, predicate))
	if err != nil {
		return nil, false, fmt.Errorf("attest %s as %s: %w", ref, predicateType, err)
	}
	return bundle, done, nil
}

// attachOnce returns the bundle of the statement if this signer has attached it
// already; otherwise it signs the statement and attaches it.
func (a *Attestor) claim(ctx context.Context, d name.Digest, st statement) ([]byte, bool, error) {
	payload, err := json.Marshal(st)
	if err != nil {
		return nil, false, err
	}
	defer a.writing.lock(d.String())()
	if found, err := a.find(ctx, d, st.PredicateType, payload); found != nil || err != nil {
		return found, false, err
	}
	signed, err := a.signPayload(ctx, payload)
	if err != nil {
		return nil, false, err
	}
	attached := func() (bool, error) {
		found, err := a.find(ctx, d, st.PredicateType, payload)
		return found != nil, err
	}
	if err := a.write(ctx, d, attachment{st.PredicateType, signed}, attached); err != nil {
		return nil, false, fmt.Errorf("attach: %w", err)
	}
	return signed, true, nil
}

// attempts is how often a bundle is attached until the registry lists it.
const attempts = 5

// attachment is a bundle that is to be attached to an image.
type attachment struct {
	predicateType string
	bundle        []byte
}

// write attaches a bundle and reads it back: attached reports whether it is there. A registry without the referrers API
// lists attachments in one index under a tag, and no registry offers a conditional
// write, so the update of one of two concurrent writers may be lost. A writer that
// read the index before this bundle was written can still overwrite it after it
// was read back; then the next run does not find the bundle and attaches it again.
func (a *Attestor) write(ctx context.Context, d name.Digest, what attachment, attached func() (bool, error)) error {
	opts, err := a.remote(ctx)
	if err != nil {
		return err
	}
	for attempt := range attempts {
		if err := ociremote.WriteAttestationNewBundleFormat(d, what.bundle, what.predicateType, ociremote.WithRemoteOptions(opts...)); err != nil {
			return err
		}
		if there, err := attached(); there || err != nil {
			return err
		}
		pause := time.NewTimer(time.Duration(100+rand.IntN(100)) * time.Millisecond << attempt)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("written %d times and still not listed: another writer overwrites it, or the registry does not list attachments", attempts)
}

// find returns the bundle of the same statement by this signer; nil if there is
// none. The predicate of a signature is not compared: cosign's differs from ours
// and means the same.
func (a *Attestor) find(ctx context.Context, d name.Digest, predicateType string, payload []byte) ([]byte, error) {
	own, err := a.own(ctx)
	if err != nil {
		return nil, err
	}
	candidates, err := a.attached(ctx, d, []string{predicateType})
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if c.bundle == nil {
			continue
		}
		got, err := own.verify(ctx, c.bundle, d.DigestStr())
		if err != nil || got.predicateType != predicateType {
			continue
		}
		if predicateType == signatureType || string(payloadOf(c.bundle)) == string(payload) {
			return c.raw, nil
		}
	}
	return nil, nil
}

// own is the signer that this configuration signs as.
func (a *Attestor) own(ctx context.Context) (signers, error) {
	if a.cfg.Mode == "keyless" {
		return a.ownIdentity(ctx)
	}
	k, err := a.loadKey()
	if err != nil {
		return signers{}, err
	}
	t, err := trustKey(a.cfg.Key, k.public)
	return signers{keys: []trust{t}}, err
}

// signPayload wraps a statement in a signed Sigstore bundle.
func (a *Attestor) signPayload(ctx context.Context, payload []byte) ([]byte, error) {
	content := &sign.DSSEData{Data: payload, PayloadType: bundle.IntotoMediaType}
	switch a.cfg.Mode {
	case "key":
		k, err := a.loadKey()
		if err != nil {
			return nil, err
		}
		b, err := sign.Bundle(content, k, sign.BundleOptions{Context: ctx})
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", a.cfg.Key, err)
		}
		return protojson.Marshal(b)
	case "keyless":
		return a.signKeyless(ctx, content)
	}
	return nil, errNotSigning
}

func statementOf(d name.Digest, predicateType string, predicate any) statement {
	return statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []subject{{Name: d.Context().Name(), Digest: map[string]string{"sha256": strings.TrimPrefix(d.DigestStr(), "sha256:")}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
}
