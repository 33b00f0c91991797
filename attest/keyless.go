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
	audience     = "sigstore"       // of the token, as Fulcio requires
	keylessLimit = 60 * time.Second // for one signature, all services included
	certMargin   = 3 * time.Minute  // a certificate that expires sooner is not used again
	maxToken     = 64 << 10         // bytes of the answer that holds the token
)

// What GitHub Actions sets in a job with the permission id-token: write.
const (
	tokenURLVariable    = "ACTIONS_ID_TOKEN_REQUEST_URL"
	tokenSecretVariable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
)

// session is one short-lived certificate and its key. All signatures of a release
// use it, so that a release asks Fulcio once.
type session struct {
	keypair *sign.EphemeralKeypair
	cert    []byte // DER
	summary certificate.Summary
	until   time.Time
}

// GetCertificate returns the certificate of the session.
func (s *session) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return s.cert, nil
}

type sessions struct {
	mu      sync.Mutex
	current *session
}

func (a *Attestor) openSession(ctx context.Context, e endpoints) (*session, error) {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	if s := a.session.current; s != nil && time.Until(s.until) > certMargin {
		return s, nil
	}
	token, err := a.identityToken(ctx)
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
	a.session.current = &session{keypair: pair, cert: der, summary: summary, until: cert.NotAfter}
	return a.session.current, nil
}

// signKeyless signs with a certificate of this CI job, gets a trusted timestamp and
// an entry in the transparency log. The bundle that it returns has been verified
// against the trusted root.
func (a *Attestor) signKeyless(ctx context.Context, content sign.Content) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keylessLimit, fmt.Errorf("Sigstore did not answer within %s", keylessLimit))
	defer cancel()
	trusted, err := a.trustedRoot(ctx)
	if err != nil {
		return nil, err
	}
	e, err := a.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.openSession(ctx, e)
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
func (a *Attestor) identityToken(ctx context.Context) (string, error) {
	at, secret := a.opt.Getenv(tokenURLVariable), a.opt.Getenv(tokenSecretVariable)
	if at == "" || secret == "" {
		return "", fmt.Errorf("keyless signing needs a GitHub Actions job with the permission id-token: write (%s is not set)", tokenURLVariable)
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", fmt.Errorf("%s is not a URL", tokenURLVariable)
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("%s is not a URL", tokenURLVariable)
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
		return "", fmt.Errorf("identity token from %s: the answer has none", u.Host)
	}
	return answer.Value, nil
}

// ownIdentity is the signer of keyless signatures of this job: the identity that
// the policy names, or else the one that Fulcio certified.
func (a *Attestor) ownIdentity(ctx context.Context) (signers, error) {
	if p := a.cfg.Policy; p != nil && p.Identity != "" {
		var s signers
		s.add(p.Identity, func(ctx context.Context) (trust, error) { return a.trustIdentity(ctx, p.Identity, p.Issuer) })
		return s, nil
	}
	e, err := a.endpoints(ctx)
	if err != nil {
		return signers{}, err
	}
	session, err := a.openSession(ctx, e)
	if err != nil {
		return signers{}, err
	}
	var s signers
	who := session.summary
	s.add(who.SubjectAlternativeName, func(ctx context.Context) (trust, error) {
		return a.trustIdentity(ctx, regexp.QuoteMeta(who.SubjectAlternativeName), who.Issuer)
	})
	return s, nil
}

// trustIdentity trusts certificates whose subject matches the whole of identity, a
// regular expression, and whose token came from issuer. Inclusion in the transparency log is required,
// and so is a time from a log or a timestamp authority. If the trusted root lists
// certificate logs, the certificate must have an entry in one of them.
func (a *Attestor) trustIdentity(ctx context.Context, identity, issuer string) (trust, error) {
	material, err := a.trustedRoot(ctx)
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
		if err := ownRun(who.SourceRepositoryURI, who.SubjectAlternativeName, a.repository()); err != nil {
			return nil, "", err
		}
		return result, who.SubjectAlternativeName + " of " + who.Issuer, nil
	}
	return trust{name: identity + " of " + issuer, check: check}, nil
}

// ownRun checks that a certificate was issued to a workflow run of the wanted
// repository: anybody can call a reusable workflow, and the certificates of all
// callers have its subject. If no repository is wanted, a workflow is trusted only
// when its own repository runs it. A certificate that names no repository was not
// issued to a workflow.
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
