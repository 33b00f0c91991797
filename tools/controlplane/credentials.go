package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"time"
)

// credentials makes what the parts trust each other by. What is there from an
// earlier start is kept: a restart must not lock its clients out, nor void the
// service account tokens that pods hold.
func (p *plane) credentials() error {
	tokens := p.file("tokens.csv")
	if err := once(tokens, newToken); err != nil {
		return fmt.Errorf("make the admin token: %w", err)
	}
	line, err := os.ReadFile(tokens)
	if err != nil {
		return err
	}
	p.token, _, _ = strings.Cut(string(line), ",")
	if err := once(p.file("sa.key"), newKey); err != nil {
		return fmt.Errorf("make the service account key: %w", err)
	}
	if err := once(p.file("kubelet-client.key"), newKey); err != nil {
		return fmt.Errorf("make the kubelet client key: %w", err)
	}
	err = once(p.file("kubelet-client.crt"), func() ([]byte, error) { return selfSigned(p.file("kubelet-client.key")) })
	if err != nil {
		return fmt.Errorf("make the kubelet client certificate: %w", err)
	}
	return nil
}

// once writes what content gives to path, unless the file is there already.
func once(path string, content func() ([]byte, error)) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := content()
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func newToken() ([]byte, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	return []byte(hex.EncodeToString(b) + ",admin,admin,system:masters\n"), nil
}

func newKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// selfSigned makes the certificate by which the API server shows itself to
// kubelets. It is its own authority: a kubelet trusts exactly this one.
func selfSigned(keyFile string) ([]byte, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", keyFile)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// kubeconfig is the admin's way in.
func (p *plane) kubeconfig() []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: shipit-dev
  cluster: {server: %q, certificate-authority: %q}
users:
- name: admin
  user: {token: %q}
contexts:
- name: shipit-dev
  context: {cluster: shipit-dev, user: admin}
current-context: shipit-dev
`, p.url(), p.file("certs/apiserver.crt"), p.token)
}
