package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// certificate makes a self-signed certificate for a name.
func certificate(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(name); ip != nil {
		c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(c tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// serve is an API server that answers everything, with a certificate.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	server.Config.ErrorLog = nil
	server.TLS = cfg
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestWhatIsWrongWithAKubeconfigIsNamed(t *testing.T) {
	good, other := certificate(t, "127.0.0.1", time.Now().Add(time.Hour)), certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	elsewhere, old := certificate(t, "api.elsewhere.test", time.Now().Add(time.Hour)), certificate(t, "127.0.0.1", time.Now().Add(-time.Hour))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	failing := filepath.Join(t.TempDir(), "login-helper")
	require.NoError(t, os.WriteFile(failing, []byte("#!/bin/sh\nexit 3\n"), 0o755))
	plugin := func(command string) *clientcmdapi.AuthInfo {
		return &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{Command: command, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode}}
	}
	with := func(c tls.Certificate) string { return serve(t, &tls.Config{Certificates: []tls.Certificate{c}}) }
	for _, tc := range []struct {
		name, server string
		ca           tls.Certificate
		user         *clientcmdapi.AuthInfo
		says, hint   string
	}{
		{"a credential plugin that is not there", with(good), good, plugin("no-such-login-helper"), "no-such-login-helper", "no-such-login-helper"},
		{"a credential plugin that fails", with(good), good, plugin(failing), "login-helper failed with exit code 3", "login-helper"},
		{"an authority that signed nothing of it", with(other), good, nil, "signed by unknown authority", "certificate-authority-data"},
		{"a certificate for another name", with(elsewhere), elsewhere, nil, "127.0.0.1", "tls-server-name"},
		{"a certificate that has expired", with(old), old, nil, "expired", "clock"},
		{"a server without TLS", strings.Replace(plain.URL, "http:", "https:", 1), good, nil, "does not speak TLS", "proxy"},
		{"a client certificate that is asked for", serve(t, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}), good, nil, "certificate required", "client-certificate-data"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := clientcmdapi.NewConfig()
			cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: tc.server, CertificateAuthorityData: pemOf(tc.ca)}
			cfg.AuthInfos["u"] = &clientcmdapi.AuthInfo{}
			if tc.user != nil {
				cfg.AuthInfos["u"] = tc.user
			}
			cfg.Contexts["x"], cfg.CurrentContext = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}, "x"
			at := filepath.Join(t.TempDir(), "kubeconfig")
			require.NoError(t, clientcmd.WriteToFile(*cfg, at))
			c, err := Connect(Options{Kubeconfig: at})
			require.NoError(t, err)
			began := time.Now()
			for _, err := range []error{c.Ping(t.Context()), func() error { _, err := c.List(t.Context(), ConfigMaps, "any", ""); return err }()} {
				require.ErrorContains(t, err, tc.says)
				require.NotContains(t, err.Error(), "\n")
				var hinted interface{ Hint() string }
				require.ErrorAs(t, err, &hinted)
				require.Contains(t, hinted.Hint(), tc.hint)
				require.NotContains(t, hinted.Hint(), "VPN")
			}
			require.Less(t, time.Since(began), 20*time.Second, "no time changes it")
		})
	}
}
