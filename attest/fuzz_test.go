package attest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
)

// FuzzBundle reads any bytes as the signature of a record, and as the bundle of an
// image. What is believed was signed by our key over these very bytes.
func FuzzBundle(f *testing.F) {
	dir := f.TempDir()
	for who, pair := range keys() {
		require.NoError(f, os.WriteFile(filepath.Join(dir, who+".key"), pair.PrivateBytes, 0o600))
		require.NoError(f, os.WriteFile(filepath.Join(dir, who+".pub"), pair.PublicBytes, 0o644))
	}
	signer := func(who string) *attest.Attestor {
		return attest.New(config.Signing{Mode: "key", Key: who + ".key", Policy: ours("provenance")}, attest.Options{
			Dir: dir, Getenv: environment(map[string]string{"COSIGN_PASSWORD": password}),
		})
	}
	record := []byte(`{"app":"system-bus","seq":42}`)
	genuine, err := signer("ours").SignBlob(f.Context(), record)
	require.NoError(f, err)
	foreign, err := signer("foreign").SignBlob(f.Context(), record)
	require.NoError(f, err)
	f.Add(record, genuine)
	f.Add(record, foreign)
	f.Add(bytes.ToUpper(record), genuine)
	f.Add(record, bytes.ReplaceAll(genuine, []byte(":"), []byte(": null,\"x\":")))
	f.Add(record, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":null,"signatures":[null]}}`))
	f.Add(record, []byte(`{"verificationMaterial":{"publicKey":{}},"messageSignature":{}}`))
	n := signer("ours")
	f.Fuzz(func(t *testing.T, record, signature []byte) {
		_, err := n.VerifyBlob(t.Context(), record, signature)
		if err == nil {
			require.Equal(t, `{"app":"system-bus","seq":42}`, string(record), "bytes that were never signed are believed")
		}
		told(t, err)
		_, err = n.VerifyBundles(t.Context(), [][]byte{signature, signature}, digestOfBytes(record), attest.VerifyOptions{Recorded: true})
		require.Error(t, err, "there is no provenance")
		told(t, err)
	})
}

// told demands that an error can be shown.
func told(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var untrusted *attest.UntrustedError
	if errors.As(err, &untrusted) {
		require.NotEmpty(t, untrusted.Hint())
	}
	require.NotContains(t, err.Error(), "\n")
}
