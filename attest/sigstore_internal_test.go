package attest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/stretchr/testify/require"
)

func TestPublicRootInAnOutage(t *testing.T) {
	outage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	t.Cleanup(outage.Close)
	opts := tuf.DefaultOptions().WithContext(t.Context()).WithCachePath(t.TempDir()).WithRepositoryBaseURL(outage.URL)

	t.Run("without an earlier root it says how to need no network", func(t *testing.T) {
		_, err := publicRoot(opts)
		require.ErrorContains(t, err, "signing.trustedRoot")
	})
	t.Run("with an earlier root that is used", func(t *testing.T) {
		virtual, err := ca.NewVirtualSigstore()
		require.NoError(t, err)
		trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, virtual.FulcioCertificateAuthorities(), nil, virtual.TimestampingAuthorities(), nil)
		require.NoError(t, err)
		out, err := trusted.MarshalJSON()
		require.NoError(t, err)
		cached := filepath.Join(opts.CachePath, tuf.URLToPath(outage.URL), "targets", "trusted_root.json")
		require.NoError(t, os.MkdirAll(filepath.Dir(cached), 0o755))
		require.NoError(t, os.WriteFile(cached, out, 0o600))
		got, err := publicRoot(opts)
		require.NoError(t, err)
		require.Len(t, got.FulcioCertificateAuthorities(), 1)
	})
}
