package attest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
)

func TestKeys(t *testing.T) {
	s := newShop(t, true)
	private := string(keys()["ours"].PrivateBytes)

	t.Run("a key comes from the environment as well", func(t *testing.T) {
		ref := s.push(t, "v1")
		n := attest.New(config.Signing{Mode: "key", Key: "env:SIGNING_KEY", Policy: ours()}, attest.Options{
			Dir: s.dir, Getenv: environment(map[string]string{"SIGNING_KEY": private, "COSIGN_PASSWORD": password}),
		})
		sign(t, n, ref)
		_, err := n.Verify(t.Context(), ref, attest.VerifyOptions{})
		require.NoError(t, err)
	})

	t.Run("verifying needs no private key", func(t *testing.T) {
		ref := s.push(t, "v1")
		sign(t, s.signer(t, "ours", nil), ref)
		_, err := s.attestor(t, config.Signing{Policy: ours()}).Verify(t.Context(), ref, attest.VerifyOptions{})
		require.NoError(t, err)
	})

	t.Run("errors say what is wrong and hold no secret", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "broken.key"), []byte("s3cr3t-bytes"), 0o600))
		for _, tc := range []struct{ name, key, password, want string }{
			{"no password", "ours.key", "", "signing key ours.key: cannot be decrypted: COSIGN_PASSWORD is not set"},
			{"a wrong password", "ours.key", "wr0ng-s3cr3t", "signing key ours.key: cannot be decrypted: it is not a cosign key, or COSIGN_PASSWORD is wrong"},
			{"no key at all", "broken.key", password, "it is not a cosign key"},
			{"a missing file", "gone.key", password, "signing key: open"},
			{"an empty variable", "env:GONE", password, "the environment variable GONE is empty"},
		} {
			n := attest.New(config.Signing{Mode: "key", Key: tc.key}, attest.Options{
				Dir: s.dir, Getenv: environment(map[string]string{"COSIGN_PASSWORD": tc.password}),
			})
			_, _, err := n.Sign(t.Context(), s.push(t, "v1"))
			require.ErrorContains(t, err, tc.want, tc.name)
			require.NotContains(t, err.Error(), "s3cr3t")
		}
	})

	t.Run("a policy with an unusable key is an error, not distrust", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "broken.pub"), []byte("-----BEGIN"), 0o644))
		_, err := s.attestor(t, config.Signing{Policy: &config.Policy{Keys: []string{"broken.pub"}}}).Verify(t.Context(), s.push(t, "v1"), attest.VerifyOptions{})
		require.ErrorContains(t, err, "public key broken.pub: is not a public key in PEM form")
	})
}

func TestNew(t *testing.T) {
	t.Run("mode none does nothing, and no policy requires nothing", func(t *testing.T) {
		n := attest.New(config.Signing{}, attest.Options{})
		require.False(t, n.Signs())
		require.False(t, n.HasPolicy())
		bundle, done, err := n.Sign(t.Context(), "registry.invalid/x@sha256:00")
		require.NoError(t, err)
		require.False(t, done)
		require.Nil(t, bundle)
		verified, err := n.Verify(t.Context(), "registry.invalid/x@sha256:00", attest.VerifyOptions{})
		require.NoError(t, err)
		require.Empty(t, verified.Bundles)
	})
}
