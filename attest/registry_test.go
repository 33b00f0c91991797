package attest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
)

// forger is a registry that can be told to answer requests itself.
type forger struct {
	honest http.Handler
	forge  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func (f *forger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if forge := f.forge.Load(); forge == nil || !(*forge)(w, r) {
		f.honest.ServeHTTP(w, r)
	}
}

func (f *forger) answer(forge func(w http.ResponseWriter, r *http.Request) bool) {
	f.forge.Store(&forge)
}

func TestAttacksByTheRegistry(t *testing.T) {
	f := &forger{honest: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
	s := shopOf(t, f)
	n := s.signer(t, "ours", ours())
	good, other := s.push(t, "good"), s.push(t, "other")
	sign(t, n, good)
	stored, err := n.Verify(t.Context(), good, attest.VerifyOptions{})
	require.NoError(t, err)

	// fresh has read nothing yet.
	fresh := func() *attest.Attestor { return s.signer(t, "ours", ours()) }

	t.Run("other bytes under the right digest are refused", func(t *testing.T) {
		f.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/manifests/"+digestOf(t, good)) {
				return false
			}
			r.URL.Path = strings.Replace(r.URL.Path, digestOf(t, good), digestOf(t, other), 1)
			w = lying{w, digestOf(t, good)}
			f.honest.ServeHTTP(w, r)
			return true
		})
		_, err := fresh().Verify(t.Context(), good, attest.VerifyOptions{})
		require.ErrorContains(t, err, digestOf(t, good))
		require.ErrorContains(t, err, "manifest digest")
	})

	t.Run("a bundle with other bytes than its digest says is not read", func(t *testing.T) {
		f.answer(func(w http.ResponseWriter, r *http.Request) bool {
			rec := httptest.NewRecorder()
			f.honest.ServeHTTP(rec, r)
			body := rec.Body.String()
			if r.Method != http.MethodGet || !strings.Contains(body, "dsseEnvelope") {
				return false
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, strings.Replace(body, "signatures", "signaturez", 1))
			return true
		})
		_, err := fresh().Verify(t.Context(), good, attest.VerifyOptions{})
		require.ErrorContains(t, err, "error verifying sha256 checksum")
	})

	t.Run("a bundle that cannot be read is not called untrusted", func(t *testing.T) {
		f.answer(func(w http.ResponseWriter, r *http.Request) bool {
			rec := httptest.NewRecorder()
			f.honest.ServeHTTP(rec, r)
			if path.Base(path.Dir(r.URL.Path)) != "blobs" || !strings.Contains(rec.Body.String(), "dsseEnvelope") {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		_, err := fresh().Verify(t.Context(), good, attest.VerifyOptions{})
		var untrusted *attest.UntrustedError
		require.Error(t, err)
		require.NotErrorAs(t, err, &untrusted)
		require.ErrorContains(t, err, "read bundle sha256:")
	})

	t.Run("a thousand bundles of others are not all read", func(t *testing.T) {
		list := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
		for i := range 1001 {
			sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
			list.Manifests = append(list.Manifests, v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}})
		}
		f.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/referrers/"+digestOf(t, good)) {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			return json.NewEncoder(w).Encode(list) == nil
		})
		_, err := fresh().Verify(t.Context(), good, attest.VerifyOptions{})
		require.ErrorContains(t, err, "1001 bundles are attached, more than 1000")
	})

	t.Run("a registry that is gone does not stop a rollback", func(t *testing.T) {
		f.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		_, err := fresh().Verify(t.Context(), good, attest.VerifyOptions{})
		require.Error(t, err)
		again, err := fresh().VerifyBundles(t.Context(), storedBundles(stored), digestOf(t, good), attest.VerifyOptions{})
		require.NoError(t, err)
		require.Equal(t, stored.Bundles[0].Signer, again.Bundles[0].Signer)
	})
}

// lying says in the header that the body has the digest that was asked for.
type lying struct {
	http.ResponseWriter
	digest string
}

func (l lying) WriteHeader(status int) {
	l.Header().Set("Docker-Content-Digest", l.digest)
	l.ResponseWriter.WriteHeader(status)
}
