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

// errSilent is returned where a signature is asked of a configuration that makes none.
var errSilent = errors.New("signing.mode is none: nothing is signed")

// Sign attaches a signature to the image that ref names by digest. A valid
// signature of the same signer is found rather than repeated: then done is
// false and the bundle is the one found. Under mode none it does nothing.
func (n *Notary) Sign(ctx context.Context, ref string) (bundle []byte, done bool, err error) {
	if !n.Signs() {
		return nil, false, nil
	}
	d, err := parseDigest(ref)
	if err != nil {
		return nil, false, err
	}
	bundle, done, err = n.claim(ctx, d, statementOf(d, SignatureType, struct{}{}))
	if err != nil {
		return nil, false, fmt.Errorf("sign %s: %w", ref, err)
	}
	return bundle, done, nil
}

// Signed reports whether this signer has signed the image that ref names by digest.
func (n *Notary) Signed(ctx context.Context, ref string) (bool, error) {
	d, err := parseDigest(ref)
	if err != nil {
		return false, err
	}
	found, err := n.find(ctx, d, SignatureType, nil)
	if err != nil {
		return false, fmt.Errorf("look for the signature of %s: %w", ref, err)
	}
	return found != nil, nil
}

// Attest attaches a claim about the image that ref names by digest. predicate is
// what encoding/json makes of it; the same claim by the same signer is found
// rather than repeated, as with Sign. Under mode none it does nothing.
func (n *Notary) Attest(ctx context.Context, ref, predicateType string, predicate any) (bundle []byte, done bool, err error) {
	if !n.Signs() {
		return nil, false, nil
	}
	if predicateType == SignatureType {
		return nil, false, fmt.Errorf("attest %s: %s is a signature, not a claim", ref, predicateType)
	}
	d, err := parseDigest(ref)
	if err != nil {
		return nil, false, err
	}
	bundle, done, err = n.claim(ctx, d, statementOf(d, predicateType, predicate))
	if err != nil {
		return nil, false, fmt.Errorf("attest %s as %s: %w", ref, predicateType, err)
	}
	return bundle, done, nil
}

// claim finds the statement among what this signer has attached, or signs and
// attaches it.
func (n *Notary) claim(ctx context.Context, d name.Digest, st statement) ([]byte, bool, error) {
	payload, err := json.Marshal(st)
	if err != nil {
		return nil, false, err
	}
	defer n.writing.lock(d.String())()
	if found, err := n.find(ctx, d, st.PredicateType, payload); found != nil || err != nil {
		return found, false, err
	}
	signed, err := n.signPayload(ctx, payload)
	if err != nil {
		return nil, false, err
	}
	if err := n.attach(ctx, d, st.PredicateType, signed, payload); err != nil {
		return nil, false, fmt.Errorf("attach: %w", err)
	}
	return signed, true, nil
}

// attempts are how often a bundle is attached until it is seen among those of
// the image.
const attempts = 5

// attach writes a bundle and looks whether it is there. A registry without the
// referrers API keeps what is attached in one index under a tag, and no registry
// offers a conditional write: of two writers one may be lost. A writer that has
// read before and writes after the look can still do that; then the next run
// misses the bundle and attaches it again.
func (n *Notary) attach(ctx context.Context, d name.Digest, predicateType string, signed, payload []byte) error {
	opts, err := n.remote(ctx)
	if err != nil {
		return err
	}
	for attempt := range attempts {
		if err := ociremote.WriteAttestationNewBundleFormat(d, signed, predicateType, ociremote.WithRemoteOptions(opts...)); err != nil {
			return err
		}
		if found, err := n.find(ctx, d, predicateType, payload); found != nil || err != nil {
			return err
		}
		pause := time.NewTimer(time.Duration(100+rand.IntN(100)) * time.Millisecond << attempt)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("it was written %d times and is not listed: another writer overwrites it, or the registry lists nothing", attempts)
}

// find returns the bundle with the same claim by this signer, nil if there is
// none. A signature is the same whatever its predicate's content is: cosign's
// own and ours say the same thing.
func (n *Notary) find(ctx context.Context, d name.Digest, predicateType string, payload []byte) ([]byte, error) {
	own, err := n.own(ctx)
	if err != nil {
		return nil, err
	}
	candidates, err := n.attached(ctx, d, []string{predicateType})
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
		if predicateType == SignatureType || string(payloadOf(c.bundle)) == string(payload) {
			return c.raw, nil
		}
	}
	return nil, nil
}

// own is who this configuration signs as.
func (n *Notary) own(ctx context.Context) (signers, error) {
	if n.cfg.Mode == "keyless" {
		return n.ownIdentity(ctx)
	}
	k, err := n.loadKey()
	if err != nil {
		return signers{}, err
	}
	t, err := trustKey(n.cfg.Key, k.public)
	return signers{keys: []trust{t}}, err
}

// signPayload wraps a statement in a signed sigstore bundle.
func (n *Notary) signPayload(ctx context.Context, payload []byte) ([]byte, error) {
	content := &sign.DSSEData{Data: payload, PayloadType: bundle.IntotoMediaType}
	switch n.cfg.Mode {
	case "key":
		k, err := n.loadKey()
		if err != nil {
			return nil, err
		}
		b, err := sign.Bundle(content, k, sign.BundleOptions{Context: ctx})
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", n.cfg.Key, err)
		}
		return protojson.Marshal(b)
	case "keyless":
		return n.signKeyless(ctx, content)
	}
	return nil, errSilent
}

func statementOf(d name.Digest, predicateType string, predicate any) statement {
	return statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []subject{{Name: d.Context().Name(), Digest: map[string]string{"sha256": strings.TrimPrefix(d.DigestStr(), "sha256:")}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
}
