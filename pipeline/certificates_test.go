package pipeline

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tlsRegistry is a package registry with a certificate that no machine trusts. It
// has one package, "tiny".
func tlsRegistry(t *testing.T) (url, certificate string) {
	t.Helper()
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	w := tar.NewWriter(zip)
	data := `{"name":"tiny","version":"1.0.0"}`
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "package/package.json", Mode: 0o644, Size: int64(len(data))}))
	_, err := w.Write([]byte(data))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	sum := sha512.Sum512(archive.Bytes())
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".tgz"):
			_, _ = rw.Write(archive.Bytes())
		case r.URL.Path == "/tiny":
			_ = json.NewEncoder(rw).Encode(map[string]any{
				"name": "tiny", "dist-tags": map[string]string{"latest": "1.0.0"},
				"versions": map[string]any{"1.0.0": map[string]any{"name": "tiny", "version": "1.0.0", "dist": map[string]string{
					"tarball": server.URL + "/tiny/-/tiny-1.0.0.tgz", "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
				}}},
			})
		default:
			http.NotFound(rw, r)
		}
	})
	authority, leaf := certificates(t)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}), 0o600))
	return server.URL, certificate
}

// certificates are that of an authority, and one for this machine that it issued.
func certificates(t *testing.T) (authority []byte, leaf tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of one's own"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authority, err = x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	require.NoError(t, err)
	issued := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a registry"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, issued, ca, key.Public(), key)
	require.NoError(t, err)
	return authority, tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestAnInstallTrustsTheCertificatesOfTheCaller(t *testing.T) {
	if testing.Short() {
		t.Skip("runs package managers")
	}
	url, certificate := tlsRegistry(t)
	t.Setenv("NPM_CONFIG_REGISTRY", url)
	t.Setenv("NPM_CONFIG_GLOBALCONFIG", os.DevNull) // this machine's may name another
	t.Setenv("NODE_EXTRA_CA_CERTS", certificate)
	for _, m := range managers(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Setenv("NPM_CONFIG_CAFILE", certificate) // for the lockfile: the user's .npmrc may name another
			r := installRepo(t, installed{deps: `{"tiny":"1.0.0"}`}, m)
			require.NoError(t, os.Unsetenv("NPM_CONFIG_CAFILE"))
			img := workerImage()
			img.Package, img.Run = "packages/a", [][]string{m.install}
			requireFile(t, buildImage(t, r.Dir, img), "tiny/package.json", `"tiny"`)
		})
	}
}
