package shipit_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
)

// moduleHost is the variable with this machine's address, as containers of the engine see it.
const moduleHost = "SHIPIT_TEST_DAGGER_MODULE"

// registryAt is a registry on all addresses of this machine, which containers reach under
// host. It returns its name and the file of its certificate.
func registryAt(t *testing.T, host string) (name, certificate string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{host},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate = filepath.Join(t.TempDir(), "registry.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	server := httptest.NewUnstartedServer(http.Handler(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	l, err := net.Listen("tcp", "0.0.0.0:0") // containers come by another address than 127.0.0.1
	require.NoError(t, err)
	server.Listener.Close()
	server.Listener, server.TLS = l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return net.JoinHostPort(host, port), certificate
}

// The module is of the repository's root: what is called is what users call, but for the
// program, which is compiled here.
func TestTheDaggerModuleWithARealEngine(t *testing.T) {
	host := os.Getenv(moduleHost)
	if host == "" {
		t.Skip(moduleHost + " is not the address of this machine as containers of a Dagger engine see it")
	}
	dagger := os.Getenv("_EXPERIMENTAL_DAGGER_CLI_BIN")
	if dagger == "" {
		dagger = "dagger"
	}
	name, certificate := registryAt(t, host)
	r := sample.New(t, sample.Options{Registry: name})
	r.Commit("in an engine", map[string]string{"shipit.yaml": strings.Replace(r.Read("shipit.yaml"), "builder: embedded", "builder: dagger", 1)})
	program := filepath.Join(t.TempDir(), "shipit")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "./cmd/shipit").CombinedOutput()
	require.NoError(t, err, string(out))
	call := func(args ...string) (string, string, error) {
		args = append([]string{
			"--progress=plain", "call", "--program", program, "with-secret-file", "--path", "/run/registry.pem", "--content", "file:" + certificate,
			"with-secret-variable", "--name", "SSL_CERT_FILE", "--value", "env:SHIPIT_TEST_CERTIFICATE",
		}, args...)
		cmd := exec.CommandContext(t.Context(), dagger, args...)
		cmd.Env = append(os.Environ(), "SHIPIT_TEST_CERTIFICATE=/run/registry.pem", "DAGGER_NO_NAG=1")
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), said.String(), err
	}

	source, err := git.Open(t.Context(), r.Dir, "HEAD", config.File)
	require.NoError(t, err)
	defer source.Close()
	cfg, err := config.Load(filepath.Join(r.Dir, config.File), "")
	require.NoError(t, err)
	inputs, err := pipeline.Resolve(t.Context(), source, cfg, "worker")
	require.NoError(t, err)
	want, err := pipeline.Build(t.Context(), inputs, pipeline.Options{Builder: "embedded", CacheDir: t.TempDir()})
	require.NoError(t, err)

	t.Run("build gives the digest of the embedded builder", func(t *testing.T) {
		reference, said, err := call("build", "--source", r.Dir)
		require.NoError(t, err, said)
		require.Equal(t, name+"/busrig/system-bus-worker@"+want.Digest, reference)
	})
	t.Run("test runs the tests", func(t *testing.T) {
		_, said, err := call("test", "--source", r.Dir)
		require.NoError(t, err, said)
		require.Contains(t, said, "worker has no tests")
	})
	t.Run("status names the exit code, and what is missing", func(t *testing.T) {
		_, said, err := call("status", "--source", r.Dir)
		require.Error(t, err)
		require.Contains(t, said, "shipit status ended with exit code 3")
		require.Contains(t, said, "kubeconfig")
	})
}
