package attest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
)

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
		{"a record altered where it is stored", altered, func() []byte { return bundle }, attest.OtherDigest},
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
		attest.OtherPredicate: "an attestation is not a signature",
		attest.OtherSource:    "signing.policy.repository",
		attest.OtherBranch:    "merge the commit",
	} {
		err := &attest.UntrustedError{Signers: []string{"ours.pub"}, Rejections: []attest.Rejection{{Reason: attest.Malformed}, {Reason: reason}}}
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

	_, err := next.Verify(t.Context(), ref, attest.VerifyOptions{})
	require.NoError(t, err, "during the overlap the old key is still trusted")
	_, err = after.Verify(t.Context(), ref, attest.VerifyOptions{})
	refused(t, err, attest.ForeignSigner)

	sign(t, next, ref) // not taken for done because the old key's signature is good
	for _, n := range []*attest.Attestor{old, next, after} {
		_, err = n.Verify(t.Context(), ref, attest.VerifyOptions{})
		require.NoError(t, err)
	}
}

func TestProvenancePolicy(t *testing.T) {
	s := newShop(t, true)
	policy := ours("provenance", "sbom")
	policy.Repository, policy.Branch = "https://github.com/joelhooks/joelclaw", "main"
	n := s.signer(t, "ours", policy)
	merged, unmerged := strings.Repeat("a", 40), strings.Repeat("b", 40)
	expect := attest.VerifyOptions{Ancestor: func(_ context.Context, commit, branch string) (bool, error) {
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

		_, err = n.VerifyBundles(t.Context(), storedBundles(verified), digestOf(t, ref), attest.VerifyOptions{Recorded: true})
		require.NoError(t, err, "a rollback needs no git")
		_, err = n.VerifyBundles(t.Context(), storedBundles(verified)[:2], digestOf(t, ref), attest.VerifyOptions{Recorded: true})
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
		_, err := n.Verify(t.Context(), image(policy.Repository, merged), attest.VerifyOptions{})
		require.ErrorContains(t, err, "signing.policy.branch is set")
	})
	t.Run("the same attestation is found, another one is added", func(t *testing.T) {
		ref := image(policy.Repository, merged)
		_, done, err := n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{Repository: policy.Repository, SHA: merged}))
		require.NoError(t, err)
		require.False(t, done)
		_, done, err = n.Attest(t.Context(), ref, attest.ProvenanceType, attest.Provenance(attest.Build{Repository: policy.Repository, SHA: unmerged}))
		require.NoError(t, err)
		require.True(t, done)
	})
}

func TestABranchOrARepositoryDemandsProvenance(t *testing.T) {
	s := newShop(t, true)
	for what, policy := range map[string]config.Policy{
		"branch":     {Keys: []string{"ours.pub"}, Branch: "main"},
		"repository": {Keys: []string{"ours.pub"}, Repository: "https://github.com/joelhooks/joelclaw"},
	} {
		t.Run(what, func(t *testing.T) {
			n := s.signer(t, "ours", &policy)
			ref := s.push(t, "v1")
			sign(t, n, ref)
			_, err := n.Verify(t.Context(), ref, attest.VerifyOptions{Ancestor: func(context.Context, string, string) (bool, error) { return true, nil }})
			require.ErrorContains(t, err, "no valid provenance")

			stored, err := n.Policy()
			require.NoError(t, err)
			require.Equal(t, []string{"provenance", "signature"}, stored.Predicates)
			require.Len(t, stored.Keys, 1)
			require.Regexp(t, "^sha256:[0-9a-f]{64}$", stored.Keys[0])
		})
	}
}
