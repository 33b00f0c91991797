package attest

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	audience     = "sigstore"       // that Fulcio wants in the token
	keylessLimit = 60 * time.Second // for one signature with all its services
	certMargin   = 3 * time.Minute  // a certificate that ends sooner is not used again
	maxToken     = 64 << 10         // bytes of the answer that holds the token
)

// What GitHub Actions sets in a job with the permission id-token: write.
const (
	tokenURLVariable    = "ACTIONS_ID_TOKEN_REQUEST_URL"
	tokenSecretVariable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
)

// session is one short-lived certificate and the key it was given for. It signs
// everything of a release, so that a release asks Fulcio once.
type session struct {
	keypair *sign.EphemeralKeypair
	cert    []byte // DER
	summary certificate.Summary
	until   time.Time
}

// GetCertificate hands out the certificate that there is already.
func (s *session) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return s.cert, nil
}

type sessions struct {
	mu      sync.Mutex
	current *session
}

func (n *Notary) openSession(ctx context.Context, e endpoints) (*session, error) {
	n.session.mu.Lock()
	defer n.session.mu.Unlock()
	if s := n.session.current; s != nil && time.Until(s.until) > certMargin {
		return s, nil
	}
	token, err := n.identityToken(ctx)
	if err != nil {
		return nil, err
	}
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	fulcio := sign.NewFulcio(&sign.FulcioOptions{BaseURL: e.fulcio, Retries: 2})
	der, err := fulcio.GetCertificate(ctx, pair, &sign.CertificateProviderOptions{IDToken: token})
	if err != nil {
		return nil, fmt.Errorf("certificate from %s: %w", e.fulcio, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate from %s: %w", e.fulcio, err)
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate from %s: %w", e.fulcio, err)
	}
	n.session.current = &session{keypair: pair, cert: der, summary: summary, until: cert.NotAfter}
	return n.session.current, nil
}

// signKeyless signs with a certificate of this CI job, has the time of it
// witnessed and enters it in the transparency log. What it returns has been
// verified against the trusted root.
func (n *Notary) signKeyless(ctx context.Context, content sign.Content) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keylessLimit, fmt.Errorf("Sigstore did not answer within %s", keylessLimit))
	defer cancel()
	trusted, err := n.trustedRoot(ctx)
	if err != nil {
		return nil, err
	}
	e, err := n.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	s, err := n.openSession(ctx, e)
	if err != nil {
		return nil, err
	}
	opts := sign.BundleOptions{
		Context: ctx, CertificateProvider: s, TrustedRoot: trusted,
		TransparencyLogs: []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: e.rekor, Version: e.rekorVersion, Retries: 2})},
	}
	if e.timestamp != "" {
		opts.TimestampAuthorities = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: e.timestamp, Retries: 2})}
	}
	b, err := sign.Bundle(content, s.keypair, opts)
	if err != nil {
		return nil, fmt.Errorf("sign keyless: %w", err)
	}
	return protojson.Marshal(b)
}

// identityToken asks GitHub Actions who this job is. The token is a secret: no
// error holds it.
func (n *Notary) identityToken(ctx context.Context) (string, error) {
	at, secret := n.opt.Getenv(tokenURLVariable), n.opt.Getenv(tokenSecretVariable)
	if at == "" || secret == "" {
		return "", fmt.Errorf("keyless signing needs a GitHub Actions job with the permission id-token: write (%s is not set)", tokenURLVariable)
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", fmt.Errorf("%s is no URL", tokenURLVariable)
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("%s is no URL", tokenURLVariable)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("identity token from %s: %w", u.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("identity token from %s: %s", u.Host, resp.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); err != nil || answer.Value == "" {
		return "", fmt.Errorf("identity token from %s: the answer holds none", u.Host)
	}
	return answer.Value, nil
}

// ownIdentity is who a keyless signature of this job is by: whom the policy
// names, or without one whom Fulcio takes it for.
func (n *Notary) ownIdentity(ctx context.Context) (signers, error) {
	if p := n.cfg.Policy; p != nil && p.Identity != "" {
		var s signers
		s.add(p.Identity, func(ctx context.Context) (trust, error) { return n.trustIdentity(ctx, p.Identity, p.Issuer) })
		return s, nil
	}
	e, err := n.endpoints(ctx)
	if err != nil {
		return signers{}, err
	}
	session, err := n.openSession(ctx, e)
	if err != nil {
		return signers{}, err
	}
	var s signers
	who := session.summary
	s.add(who.SubjectAlternativeName, func(ctx context.Context) (trust, error) {
		return n.trustIdentity(ctx, regexp.QuoteMeta(who.SubjectAlternativeName), who.Issuer)
	})
	return s, nil
}

// trustIdentity believes certificates whose subject matches identity as a whole
// and that issuer vouched for. Inclusion in the transparency log is required,
// and a time that a log or a timestamp authority witnessed; if the trusted root
// lists certificate logs, so is the certificate's entry in one of them.
func (n *Notary) trustIdentity(ctx context.Context, identity, issuer string) (trust, error) {
	material, err := n.trustedRoot(ctx)
	if err != nil {
		return trust{}, err
	}
	wanted, err := verify.NewShortCertificateIdentity(issuer, "", "", "^(?:"+identity+")$")
	if err != nil {
		return trust{}, fmt.Errorf("identity %s: %w", identity, err)
	}
	opts := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	if len(material.CTLogs()) > 0 {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(material, opts...)
	if err != nil {
		return trust{}, fmt.Errorf("identity %s: %w", identity, err)
	}
	check := func(b *bundle.Bundle, artifact verify.ArtifactPolicyOption) (*verify.VerificationResult, string, error) {
		result, err := v.Verify(b, verify.NewPolicy(artifact, verify.WithCertificateIdentity(wanted)))
		if err != nil {
			return nil, "", err
		}
		who := result.Signature.Certificate
		if who == nil {
			return nil, "", errors.New("no certificate")
		}
		if err := ownRun(who.SourceRepositoryURI, who.SubjectAlternativeName, n.repository()); err != nil {
			return nil, "", err
		}
		return result, who.SubjectAlternativeName + " of " + who.Issuer, nil
	}
	return trust{name: identity + " of " + issuer, check: check}, nil
}

// ownRun asks whether a certificate was issued to a run of the repository that is
// wanted: a reusable workflow can be called by anybody, and all its callers have
// its subject. Where no repository is wanted, only a workflow that its own
// repository runs is believed. A certificate that names no run is not of a workflow.
func ownRun(certified, subject, wanted string) error {
	switch {
	case certified == "":
		return nil
	case wanted == "" && !strings.HasPrefix(plainRepository(subject), plainRepository(certified)+"/"):
		return fmt.Errorf("its certificate was issued to a run of %s for a workflow of another repository: "+
			"set source or signing.policy.repository, so that only runs of your repository count", certified)
	case wanted != "" && !sameRepository(certified, wanted):
		return fmt.Errorf("its certificate was issued to a run of %s, not of %s", certified, wanted)
	}
	return nil
}
