package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// passwordVariable is the one that cosign itself reads.
const passwordVariable = "COSIGN_PASSWORD"

// keypair makes a key in cosign's encrypted form a sign.Keypair, which signs
// Sigstore bundles.
type keypair struct {
	signer  signature.SignerVerifier
	public  crypto.PublicKey
	details signature.AlgorithmDetails
}

// loadKey decrypts the private key, once and only when something is signed: its
// scrypt parameters make that take up to a second.
func (a *Attestor) loadKey() (keypair, error) {
	return a.key.get(func() (keypair, error) {
		data, err := a.readKey()
		if err != nil {
			return keypair{}, err
		}
		return decryptKey(a.cfg.Key, data, a.opt.Getenv(passwordVariable))
	})
}

func (a *Attestor) readKey() ([]byte, error) {
	if variable, ok := strings.CutPrefix(a.cfg.Key, "env:"); ok {
		data := a.opt.Getenv(variable)
		if data == "" {
			return nil, fmt.Errorf("signing key: the environment variable %s is empty", variable)
		}
		return []byte(data), nil
	}
	data, err := os.ReadFile(below(a.opt.Dir, a.cfg.Key))
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return data, nil
}

// decryptKey decrypts a key in cosign's form. Its errors reveal nothing of the key.
func decryptKey(from string, data []byte, password string) (keypair, error) {
	signer, err := cosign.LoadPrivateKey(data, []byte(password), nil)
	switch {
	case err != nil && password == "":
		return keypair{}, fmt.Errorf("signing key %s: cannot be decrypted: %s is not set", from, passwordVariable)
	case err != nil:
		return keypair{}, fmt.Errorf("signing key %s: cannot be decrypted: it is not a cosign key, or %s is wrong", from, passwordVariable)
	}
	public, err := signer.PublicKey()
	if err != nil {
		return keypair{}, fmt.Errorf("signing key %s: %w", from, err)
	}
	details, err := signature.GetDefaultAlgorithmDetails(public, options.WithED25519ph())
	if err != nil {
		return keypair{}, fmt.Errorf("signing key %s: %w", from, err)
	}
	return keypair{signer: signer, public: public, details: details}, nil
}

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm { return k.details.GetProtoHashType() }

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return k.details.GetSignatureAlgorithm()
}

// GetHint is the hash by which the bundle names the key; cosign uses the same.
func (k keypair) GetHint() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(der)
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

func (k keypair) GetKeyAlgorithm() string {
	switch k.details.GetKeyType() {
	case signature.ECDSA:
		return "ECDSA"
	case signature.RSA:
		return "RSA"
	case signature.ED25519:
		return "ED25519"
	}
	return ""
}

func (k keypair) GetPublicKey() crypto.PublicKey { return k.public }

func (k keypair) GetPublicKeyPem() (string, error) {
	pem, err := cryptoutils.MarshalPublicKeyToPEM(k.public)
	return string(pem), err
}

// SignData returns the signature and the digest that was signed.
func (k keypair) SignData(_ context.Context, data []byte) ([]byte, []byte, error) {
	sig, err := k.signer.SignMessage(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	h := k.details.GetHashType().New()
	h.Write(data)
	return sig, h.Sum(nil), nil
}

// trust is one trusted signer.
type trust struct {
	name        string // path of the key file, or the identity
	fingerprint string // sha256:… of a public key; empty for an identity
	check       func(*bundle.Bundle, verify.ArtifactPolicyOption) (*verify.VerificationResult, string, error)
}

// trustKey trusts the signatures of one public key, whenever they were made: a key
// loses trust by leaving the policy, not with time.
func trustKey(name string, public crypto.PublicKey) (trust, error) {
	verifier, err := signature.LoadDefaultVerifier(public, options.WithED25519ph())
	if err != nil {
		return trust{}, fmt.Errorf("public key %s: %w", name, err)
	}
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
	if err != nil {
		return trust{}, fmt.Errorf("public key %s: %w", name, err)
	}
	check := func(b *bundle.Bundle, artifact verify.ArtifactPolicyOption) (*verify.VerificationResult, string, error) {
		result, err := v.Verify(b, verify.NewPolicy(artifact, verify.WithKey()))
		return result, name, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return trust{}, fmt.Errorf("public key %s: %w", name, err)
	}
	return trust{name: name, fingerprint: "sha256:" + hexSHA256(der), check: check}, nil
}

// policyKeys are the public keys that the policy names; several while keys are
// rotated.
func (a *Attestor) policyKeys() ([]trust, error) {
	return a.keys.get(func() ([]trust, error) {
		var all []trust
		for _, path := range a.cfg.Policy.Keys {
			data, err := a.opt.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("public key %s: %w", path, err)
			}
			public, err := cryptoutils.UnmarshalPEMToPublicKey(data)
			if err != nil {
				return nil, fmt.Errorf("public key %s: %w", path, errors.New("is not a public key in PEM form"))
			}
			t, err := trustKey(path, public)
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
		return all, nil
	})
}
