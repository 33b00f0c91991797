package attest_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
)

// payloadOfEntry is what version 1 of Rekor signs as its promise of inclusion.
func payloadOfEntry(e *protorekor.TransparencyLogEntry) tlog.RekorPayload {
	return tlog.RekorPayload{
		LogID: hex.EncodeToString(e.LogId.KeyId), IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex,
		Body: base64.StdEncoding.EncodeToString(e.CanonicalizedBody),
	}
}

// Keyless signing is tested against stand-ins, see standIn; nothing here talks
// to Sigstore's public services.
func TestKeyless(t *testing.T) {
	sigstore := newStandIn(t)
	s := newShop(t, true)
	sigstore.writeRoot(t, s.dir, false)
	attestor := func(t *testing.T, cfg config.Signing, env map[string]string) *attest.Attestor {
		n := attest.New(cfg, attest.Options{Dir: s.dir, Getenv: environment(env)})
		return n
	}

	for _, version := range []int{1, 2} {
		t.Run("a job of GitHub Actions signs by version "+strconv.Itoa(version)+" of Rekor", func(t *testing.T) {
			n := attestor(t, sigstore.signing(version), sigstore.environment())
			before := sigstore.issued.Load()
			ref := s.push(t, "v1")
			sign(t, n, ref)
			_, done, err := n.Sign(t.Context(), ref)
			require.NoError(t, err)
			require.False(t, done)
			record := []byte(`{"seq":1}`)
			bundle, err := n.SignBlob(t.Context(), record)
			require.NoError(t, err)
			require.Equal(t, before+1, sigstore.issued.Load(), "one certificate serves a whole release")

			verifier := attestor(t, sigstore.signing(version), nil) // no job: verifying asks nobody
			verified, err := verifier.Verify(t.Context(), ref, attest.VerifyOptions{})
			require.NoError(t, err)
			require.Equal(t, sigstore.workflow+" of "+sigstore.issuer, verified.Bundles[0].Signer)
			_, err = verifier.VerifyBundles(t.Context(), storedBundles(verified), digestOf(t, ref), attest.VerifyOptions{})
			require.NoError(t, err)
			_, err = verifier.VerifyBlob(t.Context(), record, bundle)
			require.NoError(t, err)
		})
	}

	ref := s.push(t, "signed")
	sign(t, attestor(t, sigstore.signing(2), sigstore.environment()), ref)
	stored := func(t *testing.T) []byte {
		verified, err := attestor(t, sigstore.signing(2), nil).Verify(t.Context(), ref, attest.VerifyOptions{})
		require.NoError(t, err)
		return storedBundles(verified)[0]
	}

	for _, tc := range []struct {
		name   string
		policy config.Policy
	}{
		{"another identity", config.Policy{Identity: "https://github.com/mallory/.*", Issuer: sigstore.issuer}},
		{"a part of the identity", config.Policy{Identity: "https://github.com/joelhooks/joelclaw", Issuer: sigstore.issuer}},
		{"another issuer", config.Policy{Identity: ".*", Issuer: "https://accounts.example"}},
		{"a key", config.Policy{Keys: []string{"ours.pub"}}},
	} {
		t.Run("a policy for "+tc.name+" does not trust it", func(t *testing.T) {
			cfg := sigstore.signing(2)
			cfg.Policy = &tc.policy
			_, err := attestor(t, cfg, nil).Verify(t.Context(), ref, attest.VerifyOptions{})
			refused(t, err, attest.ForeignSigner)
		})
	}

	for _, part := range []string{"tlogEntries", "timestampVerificationData"} {
		t.Run("a bundle without its "+part+" is refused", func(t *testing.T) {
			_, err := attestor(t, sigstore.signing(2), nil).VerifyBundles(t.Context(), [][]byte{without(t, stored(t), part)}, digestOf(t, ref), attest.VerifyOptions{})
			require.Error(t, err)
			var untrusted *attest.UntrustedError
			require.ErrorAs(t, err, &untrusted)
		})
	}

	t.Run("a root that is another Sigstore's does not trust it", func(t *testing.T) {
		other := newShop(t, true)
		newStandIn(t).writeRoot(t, other.dir, false)
		_, err := other.attestor(t, sigstore.signing(2)).VerifyBundles(t.Context(), [][]byte{stored(t)}, digestOf(t, ref), attest.VerifyOptions{})
		refused(t, err, attest.ForeignSigner)
	})

	t.Run("a root that lists certificate logs requires an entry in one", func(t *testing.T) {
		other := newShop(t, true)
		sigstore.writeRoot(t, other.dir, true)
		_, err := other.attestor(t, sigstore.signing(2)).VerifyBundles(t.Context(), [][]byte{stored(t)}, digestOf(t, ref), attest.VerifyOptions{})
		require.ErrorContains(t, refused(t, err, attest.ForeignSigner), "signed certificate timestamp")
	})

	t.Run("a policy may trust a key beside an identity, so that an outage stops nothing", func(t *testing.T) {
		cfg := sigstore.signing(2)
		cfg.Policy.Keys, cfg.TrustedRoot = []string{"ours.pub"}, "gone.json"
		byKey := s.push(t, "v1")
		sign(t, s.signer(t, "ours", nil), byKey)
		attach(t, byKey, stored(t)) // whose certificate would need the root
		_, err := attestor(t, cfg, nil).Verify(t.Context(), byKey, attest.VerifyOptions{})
		require.NoError(t, err)
		_, err = attestor(t, cfg, nil).Verify(t.Context(), ref, attest.VerifyOptions{})
		require.ErrorContains(t, err, "trusted root: open")
		var untrusted *attest.UntrustedError
		require.NotErrorAs(t, err, &untrusted, "it could not be found out")
	})

	t.Run("outside of a job it says what is missing", func(t *testing.T) {
		_, _, err := attestor(t, sigstore.signing(2), nil).Sign(t.Context(), s.push(t, "v1"))
		require.ErrorContains(t, err, "id-token: write")
	})

	t.Run("a refused token leaves no secret in the error", func(t *testing.T) {
		env := sigstore.environment()
		env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "wrong-s3cr3t"
		_, _, err := attestor(t, sigstore.signing(2), env).Sign(t.Context(), s.push(t, "v1"))
		require.ErrorContains(t, err, "401")
		require.NotContains(t, err.Error(), "s3cr3t")
	})

	t.Run("without a policy its own signature is found by the job's identity", func(t *testing.T) {
		cfg := sigstore.signing(2)
		cfg.Policy = nil
		n := attestor(t, cfg, sigstore.environment())
		own := s.push(t, "v1")
		sign(t, n, own)
		_, done, err := n.Sign(t.Context(), own)
		require.NoError(t, err)
		require.False(t, done)
	})
}

// Anybody can call the public workflow, and the certificates of all callers have its
// name: only the repository of the run tells them apart.
func TestACertificateOfThePublicWorkflowIsThatOfItsCaller(t *testing.T) {
	const own, other = "https://github.com/joelhooks/joelclaw", "https://github.com/mallory/joelclaw"
	sigstore := newStandIn(t)
	sigstore.workflow = "https://github.com/joelhooks/shipit/.github/workflows/ship.yml@refs/tags/v1"
	s := newShop(t, true)
	sigstore.writeRoot(t, s.dir, false)
	cfg := sigstore.signing(2)
	cfg.Policy = &config.Policy{Identity: `https://github\.com/joelhooks/shipit/.*`, Issuer: sigstore.issuer}
	for _, tc := range []struct {
		name, caller, source, refusal string
	}{
		{"a run of the source", own, own, ""},
		{"a run of another repository", other, own, "issued to a run of " + other + ", not of " + own},
		{"a run of any repository where no source is named", own, "", "set source or signing.policy.repository"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sigstore.caller = tc.caller
			ref := s.push(t, "v1")
			sign(t, attest.New(cfg, attest.Options{Dir: s.dir, Source: tc.caller, Getenv: environment(sigstore.environment())}), ref)
			_, err := attest.New(cfg, attest.Options{Dir: s.dir, Source: tc.source}).Verify(t.Context(), ref, attest.VerifyOptions{})
			if tc.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, refused(t, err, attest.ForeignSigner), tc.refusal)
		})
	}
}

// without takes a part out of the verification material.
func without(t *testing.T, bundle []byte, part string) []byte {
	t.Helper()
	var b map[string]any
	require.NoError(t, json.Unmarshal(bundle, &b))
	material := b["verificationMaterial"].(map[string]any)
	require.Contains(t, material, part)
	delete(material, part)
	out, err := json.Marshal(b)
	require.NoError(t, err)
	return out
}
