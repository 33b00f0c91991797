package attest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
)

const password = "correct horse"

// keys makes the key pairs of all tests once: encrypting one takes long.
var keys = sync.OnceValue(func() map[string]*cosign.KeysBytes {
	made := map[string]*cosign.KeysBytes{}
	for _, who := range []string{"ours", "next", "foreign"} {
		pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte(password), nil })
		if err != nil {
			panic(err)
		}
		made[who] = pair
	}
	return made
})

// shop is a registry in process, and a folder with every key.
type shop struct {
	host string
	dir  string
}

func newShop(t *testing.T, referrers bool) *shop {
	t.Helper()
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	return shopOf(t, serve)
}

func shopOf(t *testing.T, serve http.Handler) *shop {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for who, pair := range keys() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, who+".key"), pair.PrivateBytes, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, who+".pub"), pair.PublicBytes, 0o644))
	}
	return &shop{host: strings.TrimPrefix(server.URL, "http://"), dir: dir}
}

// push puts a new image under a tag and returns its reference by digest.
func (s *shop) push(t *testing.T, tag string) string {
	t.Helper()
	img, err := random.Image(512, 2)
	require.NoError(t, err)
	ref, err := name.NewTag(s.host + "/app/worker:" + tag)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	digest, err := img.Digest()
	require.NoError(t, err)
	return ref.Context().Digest(digest.String()).String()
}

// signer signs with one of the keys and requires what policy says.
func (s *shop) signer(t *testing.T, who string, policy *config.Policy) *attest.Attestor {
	t.Helper()
	return s.attestor(t, config.Signing{Mode: "key", Key: who + ".key", Policy: policy})
}

func (s *shop) attestor(t *testing.T, cfg config.Signing) *attest.Attestor {
	t.Helper()
	n := attest.New(cfg, attest.Options{Dir: s.dir, Getenv: environment(map[string]string{"COSIGN_PASSWORD": password})})
	return n
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func ours(predicates ...string) *config.Policy {
	return &config.Policy{Keys: []string{"ours.pub"}, Predicates: predicates}
}

func TestSigning(t *testing.T) {
	for _, api := range []struct {
		name      string
		referrers bool
	}{{"a registry with the referrers API", true}, {"a registry without it", false}} {
		t.Run(api.name, func(t *testing.T) {
			s := newShop(t, api.referrers)
			n := s.signer(t, "ours", ours())
			ref := s.push(t, "v1")
			first, done, err := n.Sign(t.Context(), ref)
			require.NoError(t, err)
			require.True(t, done)

			second, done, err := n.Sign(t.Context(), ref)
			require.NoError(t, err)
			require.False(t, done, "a valid own signature is found, not repeated")
			require.JSONEq(t, string(first), string(second))

			verified, err := n.Verify(t.Context(), ref, attest.VerifyOptions{})
			require.NoError(t, err)
			require.Len(t, verified.Bundles, 1)
			require.Equal(t, "ours.pub", verified.Bundles[0].Signer)
			require.Equal(t, attest.SignatureType, verified.Bundles[0].Predicate)
		})
	}
}

func digestOfBytes(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// imageSignature is a signature of an image whose manifest has the bytes of data.
func imageSignature(t *testing.T, n *attest.Attestor, data []byte) []byte {
	t.Helper()
	s := newShop(t, true)
	ref, err := name.NewDigest(s.host + "/app/worker@" + digestOfBytes(data))
	require.NoError(t, err)
	require.NoError(t, remote.Put(ref, raw(data)))
	bundle, done, err := n.Sign(t.Context(), ref.String())
	require.NoError(t, err)
	require.True(t, done)
	return bundle
}

// raw is any bytes as a manifest.
type raw []byte

func (r raw) RawManifest() ([]byte, error)      { return r, nil }
func (raw) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
