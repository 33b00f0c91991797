package attest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
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

// refused demands an UntrustedError whose bundles do not count for reason.
func refused(t *testing.T, err error, reason attest.Reason) *attest.UntrustedError {
	t.Helper()
	var untrusted *attest.UntrustedError
	require.ErrorAs(t, err, &untrusted)
	var reasons []attest.Reason
	for _, c := range untrusted.Candidates {
		reasons = append(reasons, c.Reason)
	}
	require.Contains(t, reasons, reason, err)
	require.NotEmpty(t, untrusted.Hint())
	return untrusted
}

func sign(t *testing.T, n *attest.Notary, ref string) []byte {
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
		_, err := n.Verify(t.Context(), ref, attest.Expect{})
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
		require.ErrorContains(t, verify(tag), "no reference by digest")
		_, _, err := n.Sign(t.Context(), tag)
		require.ErrorContains(t, err, "no reference by digest")
	})

	t.Run("a signature copied from another image speaks of that image", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		attach(t, other, sign(t, n, good))
		refused(t, verify(other), attest.OtherDigest)
	})

	t.Run("a copied signature with its subject rewritten is altered", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		attach(t, other, rewrite(t, sign(t, n, good), digestOf(t, good), digestOf(t, other)))
		refused(t, verify(other), attest.ForeignSigner)
	})

	t.Run("provenance alone is no signature", func(t *testing.T) {
		ref := s.push(t, "provenance")
		bundle, _, err := n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{SHA: strings.Repeat("a", 40)}))
		require.NoError(t, err)
		refused(t, verify(ref), attest.OtherPredicate)

		attach(t, ref, bundle) // now labelled as a signature
		require.ErrorContains(t, refused(t, verify(ref), attest.OtherPredicate), "signed by ours.pub, but it claims "+attest.ProvenanceType)
		sign(t, n, ref) // not taken for done
		require.NoError(t, verify(ref))
	})

	t.Run("a good signature with a wrong predicate type is no signature", func(t *testing.T) {
		ref := s.push(t, "predicate")
		bundle, _, err := n.Attest(t.Context(), ref, attest.SignatureType+"x", struct{}{})
		require.NoError(t, err)
		attach(t, ref, bundle)
		refused(t, verify(ref), attest.OtherPredicate)
	})

	t.Run("a signed record with the bytes of a manifest is no signature of the image", func(t *testing.T) {
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
		verified, err := n.Verify(t.Context(), ref, attest.Expect{})
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

	t.Run("kept bundles do not fit a swapped digest", func(t *testing.T) {
		good, other := s.push(t, "good"), s.push(t, "other")
		sign(t, n, good)
		verified, err := n.Verify(t.Context(), good, attest.Expect{})
		require.NoError(t, err)
		_, err = n.VerifyBundles(t.Context(), verified.Stored(), digestOf(t, good), attest.Expect{})
		require.NoError(t, err)
		_, err = n.VerifyBundles(t.Context(), verified.Stored(), digestOf(t, other), attest.Expect{})
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
	stored, err := n.Verify(t.Context(), good, attest.Expect{})
	require.NoError(t, err)

	// fresh has read nothing yet.
	fresh := func() *attest.Notary { return s.signer(t, "ours", ours()) }

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
		_, err := fresh().Verify(t.Context(), good, attest.Expect{})
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
		_, err := fresh().Verify(t.Context(), good, attest.Expect{})
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
		_, err := fresh().Verify(t.Context(), good, attest.Expect{})
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
		_, err := fresh().Verify(t.Context(), good, attest.Expect{})
		require.ErrorContains(t, err, "1001 bundles are attached, more than 1000")
	})

	t.Run("a registry that is gone does not stop a rollback", func(t *testing.T) {
		f.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		_, err := fresh().Verify(t.Context(), good, attest.Expect{})
		require.Error(t, err)
		again, err := fresh().VerifyBundles(t.Context(), stored.Stored(), digestOf(t, good), attest.Expect{})
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

func TestAttacksOnRecords(t *testing.T) {
	s := newShop(t, true)
	n := s.signer(t, "ours", ours())
	record := []byte(`{"app":"system-bus","seq":42,"sha":"4f2a91c"}`)
	bundle, err := n.SignBlob(t.Context(), record)
	require.NoError(t, err)
	who, err := n.VerifyBlob(t.Context(), record, bundle)
	require.NoError(t, err)
	require.Equal(t, "ours.pub", who)

	altered := []byte(strings.Replace(string(record), "42", "43", 1))
	for _, tc := range []struct {
		name   string
		record []byte
		bundle func() []byte
		reason attest.Reason
	}{
		{"a record altered where it is kept", altered, func() []byte { return bundle }, attest.OtherDigest},
		{"a record and its statement altered together", altered, func() []byte {
			return rewrite(t, bundle, digestOfBytes(record), digestOfBytes(altered))
		}, attest.ForeignSigner},
		{"a record signed by a foreign key", record, func() []byte {
			b, err := s.signer(t, "foreign", nil).SignBlob(t.Context(), record)
			require.NoError(t, err)
			return b
		}, attest.ForeignSigner},
		{"a record without its bundle", record, func() []byte { return nil }, attest.Malformed},
		{"a signature of an image that has the record's digest", record, func() []byte {
			return imageSignature(t, n, record)
		}, attest.OtherPredicate},
	} {
		t.Run(tc.name+" is refused", func(t *testing.T) {
			_, err := n.VerifyBlob(t.Context(), tc.record, tc.bundle())
			refused(t, err, tc.reason)
		})
	}
}

func TestHints(t *testing.T) {
	for reason, want := range map[attest.Reason]string{
		attest.Malformed:      "sign it as ours.pub",
		attest.OtherDigest:    "copied from another image",
		attest.ForeignSigner:  "add its public key to signing.policy.keys",
		attest.OtherPredicate: "a claim is no signature",
		attest.OtherSource:    "signing.policy.repository",
		attest.OtherBranch:    "merge the commit",
	} {
		err := &attest.UntrustedError{Signers: []string{"ours.pub"}, Candidates: []attest.Candidate{{Reason: attest.Malformed}, {Reason: reason}}}
		require.Contains(t, err.Hint(), want, reason)
	}
}

func TestRotation(t *testing.T) {
	s := newShop(t, true)
	overlap := &config.Policy{Keys: []string{"ours.pub", "next.pub"}}
	old, next := s.signer(t, "ours", overlap), s.signer(t, "next", overlap)
	after := s.signer(t, "next", &config.Policy{Keys: []string{"next.pub"}})
	ref := s.push(t, "v1")
	sign(t, old, ref)

	_, err := next.Verify(t.Context(), ref, attest.Expect{})
	require.NoError(t, err, "during the overlap the old key is still believed")
	_, err = after.Verify(t.Context(), ref, attest.Expect{})
	refused(t, err, attest.ForeignSigner)

	sign(t, next, ref) // not taken for done because the old key's signature is good
	for _, n := range []*attest.Notary{old, next, after} {
		_, err = n.Verify(t.Context(), ref, attest.Expect{})
		require.NoError(t, err)
	}
}

func TestProvenancePolicy(t *testing.T) {
	s := newShop(t, true)
	policy := ours("provenance", "sbom")
	policy.Repository, policy.Branch = "https://github.com/joelhooks/joelclaw", "main"
	n := s.signer(t, "ours", policy)
	merged, unmerged := strings.Repeat("a", 40), strings.Repeat("b", 40)
	expect := attest.Expect{Ancestor: func(_ context.Context, commit, branch string) (bool, error) {
		require.Equal(t, "main", branch)
		return commit == merged, nil
	}}
	image := func(repository, commit string) string {
		ref := s.push(t, "v1")
		sign(t, n, ref)
		for predicate, content := range map[string]any{
			attest.ProvenanceType: attest.Provenance(attest.Build{Repository: repository, SHA: commit}),
			attest.SBOMType:       json.RawMessage(`{"bomFormat":"CycloneDX"}`),
		} {
			_, _, err := n.Attest(t.Context(), ref, predicate, content)
			require.NoError(t, err)
		}
		return ref
	}

	t.Run("an image of this repository and branch is trusted", func(t *testing.T) {
		ref := image("git@github.com:joelhooks/joelclaw.git", merged)
		verified, err := n.Verify(t.Context(), ref, expect)
		require.NoError(t, err)
		require.Equal(t, merged, verified.Commit)
		require.Len(t, verified.Bundles, 3)

		_, err = n.VerifyBundles(t.Context(), verified.Stored(), digestOf(t, ref), attest.Expect{Recorded: true})
		require.NoError(t, err, "a rollback needs no git")
		_, err = n.VerifyBundles(t.Context(), verified.Stored()[:2], digestOf(t, ref), attest.Expect{Recorded: true})
		require.ErrorContains(t, err, "no valid sbom")
	})
	t.Run("another repository is refused", func(t *testing.T) {
		_, err := n.Verify(t.Context(), image("https://github.com/mallory/joelclaw", merged), expect)
		refused(t, err, attest.OtherSource)
	})
	t.Run("a commit outside the branch is refused", func(t *testing.T) {
		_, err := n.Verify(t.Context(), image(policy.Repository, unmerged), expect)
		refused(t, err, attest.OtherBranch)
	})
	t.Run("provenance without a commit is refused", func(t *testing.T) {
		_, err := n.Verify(t.Context(), image(policy.Repository, ""), expect)
		refused(t, err, attest.OtherSource)
	})
	t.Run("a branch that nobody can ask about is an error", func(t *testing.T) {
		_, err := n.Verify(t.Context(), image(policy.Repository, merged), attest.Expect{})
		require.ErrorContains(t, err, "signing.policy.branch is set")
	})
	t.Run("the same claim is found, another one is added", func(t *testing.T) {
		ref := image(policy.Repository, merged)
		_, done, err := n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{Repository: policy.Repository, SHA: merged}))
		require.NoError(t, err)
		require.False(t, done)
		_, done, err = n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{Repository: policy.Repository, SHA: unmerged}))
		require.NoError(t, err)
		require.True(t, done)
	})
}
