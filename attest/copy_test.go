package attest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
)

// copyTo copies an image, and nothing that is attached to it, to another repository.
func (s *shop) copyTo(t *testing.T, ref, repository string) string {
	t.Helper()
	from, err := name.NewDigest(ref)
	require.NoError(t, err)
	img, err := remote.Image(from)
	require.NoError(t, err)
	to, err := name.NewDigest(s.host + "/" + repository + "@" + from.DigestStr())
	require.NoError(t, err)
	require.NoError(t, remote.Write(to, img))
	return to.String()
}

func TestWhatIsAttachedGoesWithTheImageToAnotherRepository(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("with referrers API %t", referrers), func(t *testing.T) {
			s := newShop(t, referrers)
			policy := ours("provenance")
			policy.Repository = "https://github.com/joelhooks/joelclaw"
			n := s.signer(t, "ours", policy)
			ref := s.push(t, "v1")
			sign(t, n, ref)
			for kind, predicate := range map[string]any{
				attest.ProvenanceType: attest.Provenance(attest.Build{Repository: policy.Repository, SHA: strings.Repeat("a", 40)}),
				attest.DeploymentType: attest.Deployment{App: "system-bus", Seq: 42},
			} {
				_, _, err := n.Attest(t.Context(), ref, kind, predicate)
				require.NoError(t, err)
			}
			moved := s.copyTo(t, ref, "production/worker")
			_, err := n.Verify(t.Context(), moved, attest.VerifyOptions{})
			var untrusted *attest.UntrustedError
			require.ErrorAs(t, err, &untrusted)

			count, err := n.CopyAttached(t.Context(), ref, moved)
			require.NoError(t, err)
			require.Equal(t, 2, count, "signature and provenance, and not where it ran")
			verified, err := n.Verify(t.Context(), moved, attest.VerifyOptions{})
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("a", 40), verified.Commit)
			count, err = n.CopyAttached(t.Context(), ref, moved)
			require.NoError(t, err)
			require.Zero(t, count, "what is there is not attached again")
			_, err = n.CopyAttached(t.Context(), ref, s.push(t, "another"))
			require.ErrorContains(t, err, "is not the image")

			cosign := newStock(t, s.dir)
			out, err := cosign.run(t, "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", moved)
			require.NoError(t, err, out)
			out, err = cosign.run(t, "verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", "slsaprovenance1", moved)
			require.NoError(t, err, out)
			out, err = cosign.run(t, "verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", attest.DeploymentType, moved)
			require.Error(t, err, out)
			out, err = cosign.run(t, "verify", "--key", "foreign.pub", "--insecure-ignore-tlog=true", moved)
			require.Error(t, err, out)
		})
	}
}
