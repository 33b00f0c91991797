package attest_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/digitorus/timestamp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekortiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/stretchr/testify/require"
	logformat "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/joelhooks/shipit/config"
)

// standIn answers in the place of GitHub's token service, Fulcio, Rekor and a
// timestamp authority, on loopback, with keys of its own made by sigstore-go's
// testing/ca. It is not Sigstore: it checks that a request carries the token and
// a proof of possession, and issues what a client can verify; it has no log that
// anyone could read, no certificate log, no rate limit, and a log of one entry.
// What it cannot show is that the public services accept these requests.
type standIn struct {
	url      string
	workflow string // subject of the certificates
	caller   string // repository whose run the certificates name; "" if they name none
	issuer   string
	token    string
	issued   atomic.Int32 // certificates

	fulcio    *root.FulcioCertificateAuthority
	fulcioKey *ecdsa.PrivateKey
	tsa       *root.SigstoreTimestampingAuthority
	tsaKey    *ecdsa.PrivateKey
	logV1     *ca.VirtualSigstore
	logV2     *ecdsa.PrivateKey
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{
		workflow: "https://github.com/joelhooks/joelclaw/.github/workflows/ship.yaml@refs/heads/main",
		issuer:   "https://token.actions.githubusercontent.com",
		token:    "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://token.actions.githubusercontent.com","sub":"repo:joelhooks/joelclaw"}`)) + ".e30",
	}
	now := time.Now()
	rootCert, rootKey, err := ca.GenerateRootCa()
	require.NoError(t, err)
	intermediate, key, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	require.NoError(t, err)
	s.fulcio = &root.FulcioCertificateAuthority{Root: rootCert, Intermediates: []*x509.Certificate{intermediate}, ValidityPeriodStart: now.Add(-time.Hour)}
	s.fulcioKey = key
	tsaIntermediate, tsaIntermediateKey, err := ca.GenerateTSAIntermediate(rootCert, rootKey)
	require.NoError(t, err)
	s.tsaKey = newKey(t)
	leaf, err := ca.GenerateTSALeafCert(now.Add(-time.Minute), s.tsaKey, tsaIntermediate, tsaIntermediateKey)
	require.NoError(t, err)
	s.tsa = &root.SigstoreTimestampingAuthority{Root: rootCert, Intermediates: []*x509.Certificate{tsaIntermediate}, Leaf: leaf, ValidityPeriodStart: now.Add(-time.Hour)}
	s.logV1, err = ca.NewVirtualSigstore()
	require.NoError(t, err)
	s.logV2 = newKey(t)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", s.serveToken)
	mux.HandleFunc("POST /api/v2/signingCert", s.serveCertificate)
	mux.HandleFunc("POST /timestamp", s.serveTimestamp)
	mux.HandleFunc("POST /api/v1/log/entries", s.serveLogV1)
	mux.HandleFunc("POST /api/v2/log/entries", s.serveLogV2)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// signing is the configuration that asks the stand-in for everything.
func (s *standIn) signing(rekorVersion int) config.Signing {
	cfg := config.Signing{
		Mode: "keyless", FulcioURL: s.url, RekorURL: s.url, RekorVersion: rekorVersion, TrustedRoot: "trusted_root.json",
		Policy: &config.Policy{Identity: `https://github\.com/joelhooks/joelclaw/.*`, Issuer: s.issuer},
	}
	if rekorVersion == 2 {
		cfg.TimestampURL = s.url + "/timestamp"
	}
	return cfg
}

// environment is what GitHub Actions sets.
func (s *standIn) environment() map[string]string {
	return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.url + "/token?run=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-s3cr3t"}
}

// writeRoot writes the trusted root of the stand-in; with certificate logs if
// they are to be required.
func (s *standIn) writeRoot(t *testing.T, dir string, certificateLogs bool) {
	t.Helper()
	logs := map[string]*root.TransparencyLog{}
	for _, l := range s.logV1.RekorLogs() {
		logs["v1"] = s.log(t, l.PublicKey, l.BaseURL)
	}
	logs["v2"] = s.log(t, s.logV2.Public(), s.url)
	var ctLogs map[string]*root.TransparencyLog
	if certificateLogs {
		ctLogs = map[string]*root.TransparencyLog{"ct": s.log(t, newKey(t).Public(), "https://ct.invalid")}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{s.fulcio}, ctLogs, []root.TimestampingAuthority{s.tsa}, logs)
	require.NoError(t, err)
	out, err := trusted.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trusted_root.json"), out, 0o644))
}

func (s *standIn) log(t *testing.T, public crypto.PublicKey, at string) *root.TransparencyLog {
	t.Helper()
	return &root.TransparencyLog{
		BaseURL: at, ID: logID(t, public), HashFunc: crypto.SHA256, PublicKey: public,
		SignatureHashFunc: crypto.SHA256, ValidityPeriodStart: time.Now().Add(-time.Hour),
	}
}

func logID(t *testing.T, public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if t != nil {
		require.NoError(t, err)
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

func (s *standIn) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer runner-s3cr3t" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("run") != "1" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	reply(w, http.StatusOK, map[string]string{"value": s.token})
}

func (s *standIn) serveCertificate(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || r.Header.Get("Authorization") != "Bearer "+s.token {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(ask.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	subject := sha256.Sum256([]byte("repo:joelhooks/joelclaw"))
	if !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), subject[:], ask.PublicKeyRequest.ProofOfPossession) {
		http.Error(w, "the key is not the caller's", http.StatusBadRequest)
		return
	}
	workflow, _ := url.Parse(s.workflow)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{workflow}, NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(s.issuer)}},
	}
	if s.caller != "" {
		caller, _ := asn1.MarshalWithParams(s.caller, "utf8")
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 12}, Value: caller})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.fulcio.Intermediates[0], public, s.fulcioKey)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.issued.Add(1)
	leaf := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	reply(w, http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": []string{leaf}}}})
}

func (s *standIn) serveTimestamp(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	ask, err := timestamp.ParseRequest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: ask.HashAlgorithm, HashedMessage: ask.HashedMessage, Time: time.Now(),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, ExtraExtensions: ask.Extensions,
	}
	out, err := stamp.CreateResponseWithOpts(s.tsa.Leaf, s.tsaKey, crypto.SHA256)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(out)
}

func (s *standIn) serveLogV1(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
		}
	}
	var envelope dsse.Envelope
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || json.Unmarshal([]byte(ask.Spec.ProposedContent.Envelope), &envelope) != nil {
		http.Error(w, "no dsse entry", http.StatusBadRequest)
		return
	}
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM(ask.Spec.ProposedContent.Verifiers[0])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sig, _ := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	entry, err := s.logV1.GenerateTlogEntry(certs[0], &envelope, sig, time.Now().Unix(), true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	made := entry.TransparencyLogEntry()
	promise, err := s.logV1.RekorSignPayload(payloadOfEntry(made))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", "one")
	w.Header().Set("Location", "/api/v1/log/entries/one")
	reply(w, http.StatusCreated, map[string]any{"one": map[string]any{
		"body": made.CanonicalizedBody, "integratedTime": made.IntegratedTime, "logID": hex.EncodeToString(made.LogId.KeyId), "logIndex": made.LogIndex,
		"verification": map[string]any{
			"signedEntryTimestamp": promise,
			"inclusionProof": map[string]any{
				"logIndex": made.InclusionProof.LogIndex, "treeSize": made.InclusionProof.TreeSize, "rootHash": hex.EncodeToString(made.InclusionProof.RootHash),
				"hashes": []string{}, "checkpoint": made.InclusionProof.Checkpoint.Envelope,
			},
		},
	}})
}

func (s *standIn) serveLogV2(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var ask rekortiles.CreateEntryRequest
	if err := protojson.Unmarshal(body, &ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	entry, err := s.enterV2(r.Context(), ask.GetHashedRekordRequestV002())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out, _ := protojson.Marshal(entry)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(out)
}

// enterV2 makes the entry of a log that holds nothing else.
func (s *standIn) enterV2(ctx context.Context, ask *rekortiles.HashedRekordRequestV002) (*protorekor.TransparencyLogEntry, error) {
	entry, err := protojson.Marshal(&rekortiles.Entry{
		ApiVersion: "0.0.2", Kind: "hashedrekord",
		Spec: &rekortiles.Spec{Spec: &rekortiles.Spec_HashedRekordV002{HashedRekordV002: &rekortiles.HashedRekordLogEntryV002{
			Data:      &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: ask.GetDigest()},
			Signature: ask.GetSignature(),
		}}},
	})
	if err != nil {
		return nil, err
	}
	canonical, err := jsoncanonicalizer.Transform(entry)
	if err != nil {
		return nil, err
	}
	signer, err := signature.LoadECDSASignerVerifier(s.logV2, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	at, _ := url.Parse(s.url)
	noteSigner, err := rekornote.NewNoteSigner(ctx, at.Hostname(), signer)
	if err != nil {
		return nil, err
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(canonical)
	checkpoint, err := note.Sign(&note.Note{Text: string(logformat.Checkpoint{Origin: at.Hostname(), Size: 1, Hash: leaf}.Marshal())}, noteSigner)
	if err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogId: &protocommon.LogId{KeyId: logID(nil, s.logV2.Public())}, KindVersion: &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		InclusionProof:    &protorekor.InclusionProof{TreeSize: 1, RootHash: leaf, Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)}},
		CanonicalizedBody: canonical,
	}, nil
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
