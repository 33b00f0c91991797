package attest_test

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
)

// attach puts any bytes beside an image, labelled as a signature, as anyone with
// write access to the repository can.
func attach(t *testing.T, ref string, bundle []byte) {
	t.Helper()
	d, err := name.NewDigest(ref)
	require.NoError(t, err)
	require.NoError(t, ociremote.WriteAttestationNewBundleFormat(d, bundle, attest.SignatureType))
}

func digestOf(t *testing.T, ref string) string {
	t.Helper()
	d, err := name.NewDigest(ref)
	require.NoError(t, err)
	return d.DigestStr()
}

// refused requires an UntrustedError whose bundles do not count for reason.
func refused(t *testing.T, err error, reason attest.Reason) *attest.UntrustedError {
	t.Helper()
	var untrusted *attest.UntrustedError
	require.ErrorAs(t, err, &untrusted)
	var reasons []attest.Reason
	for _, c := range untrusted.Rejections {
		reasons = append(reasons, c.Reason)
	}
	require.Contains(t, reasons, reason, err)
	require.NotEmpty(t, untrusted.Hint())
	return untrusted
}

func sign(t *testing.T, n *attest.Attestor, ref string) []byte {
	t.Helper()
	bundle, done, err := n.Sign(t.Context(), ref)
	require.NoError(t, err)
	require.True(t, done)
	return bundle
}

func TestAttacksOnImages(t *testing.T) {
	s := newShop(t, true)
	n := s.signer(t, "ours", ours())
	foreign := s.signer(t, "foreign", nil)
	verify := func(ref string) error {
		_, err := n.Verify(t.Context(), ref, attest.VerifyOptions{})
		return err
	}

	t.Run("an unsigned image is not trusted", func(t *testing.T) {
		err := verify(s.push(t, "unsigned"))
		var untrusted *attest.UntrustedError
		require.ErrorAs(t, err, &untrusted)
		require.ErrorContains(t, err, "no valid signature; nothing is attached to it")
		require.Equal(t, []string{attest.SignatureType}, untrusted.Missing)
		require.Contains(t, untrusted.Hint(), "ours.pub")
	})

	t.Run("a tag that moves after the push takes no signature along", func(t *testing.T) {
		good := s.push(t, "moving")
		sign(t, n, good)
		other := s.push(t, "moving")
		require.NotEqual(t, good, other)
		require.NoError(t, verify(good))
		require.Error(t, verify(other))

		tag := s.host + "/app/worker:moving"
		require.ErrorContains(t, verify(tag), "not a reference by digest")
		_, _, err := n.Sign(t.Context(), tag)
		require.ErrorContains(t, err, "not a reference by digest")
	})

	t.Run("a signature copied from another image is about that image", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		attach(t, other, sign(t, n, good))
		refused(t, verify(other), attest.OtherDigest)
	})

	t.Run("a copied signature with its subject rewritten is altered", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		attach(t, other, rewrite(t, sign(t, n, good), digestOf(t, good), digestOf(t, other)))
		refused(t, verify(other), attest.ForeignSigner)
	})

	t.Run("provenance alone is not a signature", func(t *testing.T) {
		ref := s.push(t, "provenance")
		bundle, _, err := n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{SHA: strings.Repeat("a", 40)}))
		require.NoError(t, err)
		refused(t, verify(ref), attest.OtherPredicate)

		attach(t, ref, bundle) // now labelled as a signature
		require.ErrorContains(t, refused(t, verify(ref), attest.OtherPredicate), "signed by ours.pub, but its predicate type is "+attest.ProvenanceType)
		sign(t, n, ref) // not taken for done
		require.NoError(t, verify(ref))
	})

	t.Run("a good signature with a wrong predicate type is not a signature", func(t *testing.T) {
		ref := s.push(t, "predicate")
		bundle, _, err := n.Attest(t.Context(), ref, attest.SignatureType+"x", struct{}{})
		require.NoError(t, err)
		attach(t, ref, bundle)
		refused(t, verify(ref), attest.OtherPredicate)
	})

	t.Run("a signed record with the bytes of a manifest is not a signature of the image", func(t *testing.T) {
		ref := s.push(t, "record")
		d, err := name.NewDigest(ref)
		require.NoError(t, err)
		desc, err := remote.Get(d)
		require.NoError(t, err)
		bundle, err := n.SignBlob(t.Context(), desc.Manifest)
		require.NoError(t, err)
		attach(t, ref, bundle)
		refused(t, verify(ref), attest.OtherPredicate)
	})

	t.Run("a foreign signature does not count, and does not harm", func(t *testing.T) {
		ref := s.push(t, "foreign")
		sign(t, foreign, ref)
		untrusted := refused(t, verify(ref), attest.ForeignSigner)
		require.Contains(t, untrusted.Hint(), "signing.policy.keys")

		sign(t, n, ref)
		verified, err := n.Verify(t.Context(), ref, attest.VerifyOptions{})
		require.NoError(t, err)
		require.Equal(t, "ours.pub", verified.Bundles[0].Signer)
	})

	t.Run("rubbish beside a good signature does not harm", func(t *testing.T) {
		ref := s.push(t, "rubbish")
		attach(t, ref, []byte("{"))
		attach(t, ref, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
		refused(t, verify(ref), attest.Malformed)
		sign(t, n, ref)
		require.NoError(t, verify(ref))
	})

	t.Run("an error tells of some bundles, not of hundreds", func(t *testing.T) {
		ref := s.push(t, "many")
		for i := range 7 {
			attach(t, ref, []byte(strconv.Itoa(i)))
		}
		require.ErrorContains(t, verify(ref), "; and 2 more")
	})

	t.Run("stored bundles do not fit a swapped digest", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		sign(t, n, good)
		verified, err := n.Verify(t.Context(), good, attest.VerifyOptions{})
		require.NoError(t, err)
		_, err = n.VerifyBundles(t.Context(), storedBundles(verified), digestOf(t, good), attest.VerifyOptions{})
		require.NoError(t, err)
		_, err = n.VerifyBundles(t.Context(), storedBundles(verified), digestOf(t, other), attest.VerifyOptions{})
		refused(t, err, attest.OtherDigest)
	})
}

// rewrite changes the signed statement and leaves the signature as it was.
func rewrite(t *testing.T, bundle []byte, old, new string) []byte {
	t.Helper()
	var b map[string]any
	require.NoError(t, json.Unmarshal(bundle, &b))
	envelope := b["dsseEnvelope"].(map[string]any)
	payload, err := base64.StdEncoding.DecodeString(envelope["payload"].(string))
	require.NoError(t, err)
	changed := strings.ReplaceAll(string(payload), strings.TrimPrefix(old, "sha256:"), strings.TrimPrefix(new, "sha256:"))
	require.NotEqual(t, string(payload), changed)
	envelope["payload"] = base64.StdEncoding.EncodeToString([]byte(changed))
	out, err := json.Marshal(b)
	require.NoError(t, err)
	return out
}

// storedBundles is the bundles as VerifyBundles takes them.
func storedBundles(v attest.Verified) [][]byte {
	var all [][]byte
	for _, b := range v.Bundles {
		all = append(all, b.JSON)
	}
	return all
}
