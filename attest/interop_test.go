package attest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// stock runs the cosign command as its makers wrote it, built from tools/cosign,
// in a folder with every key and with a home of its own.
type stock struct {
	path string
	dir  string
	home string
}

func newStock(t *testing.T, dir string) stock {
	t.Helper()
	if testing.Short() {
		t.Skip("building the stock cosign takes minutes the first time: left out by -short")
	}
	built, err := cluster.Build(t.Context(), func(line string) { fmt.Fprintln(os.Stderr, line) }, "cosign")
	require.NoError(t, err)
	return stock{built["cosign"], dir, t.TempDir()}
}

// run returns what cosign wrote; an error if it did not exit with 0.
func (s stock) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.path, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"HOME=" + s.home, "PATH=" + os.Getenv("PATH"), "COSIGN_PASSWORD=" + password}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestStockCosign(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("with referrers API %t", referrers), func(t *testing.T) {
			s := newShop(t, referrers)
			cosign := newStock(t, s.dir)
			n := s.signer(t, "ours", ours())

			t.Run("it accepts what we signed, and nothing else", func(t *testing.T) {
				ref, unsigned := s.push(t, "ours"), s.push(t, "unsigned")
				sign(t, n, ref)
				out, err := cosign.run(t, "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", ref)
				require.NoError(t, err, out)
				out, err = cosign.run(t, "verify", "--key", "foreign.pub", "--insecure-ignore-tlog=true", ref)
				require.Error(t, err, out)
				out, err = cosign.run(t, "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", unsigned)
				require.Error(t, err, out)
			})

			t.Run("we accept what it signed, and do not sign again", func(t *testing.T) {
				ref := s.push(t, "theirs")
				out, err := cosign.run(t, "sign", "--key", "ours.key", "--yes", "--use-signing-config=false", "--tlog-upload=false", ref)
				require.NoError(t, err, out)
				verified, err := n.Verify(t.Context(), ref, attest.VerifyOptions{})
				require.NoError(t, err)
				require.Equal(t, "ours.pub", verified.Bundles[0].Signer)
				_, done, err := n.Sign(t.Context(), ref)
				require.NoError(t, err)
				require.False(t, done)
			})

			t.Run("it accepts our attestations, each by its type", func(t *testing.T) {
				ref := s.push(t, "attestations")
				sbom, err := attest.SBOM(lock(t, lockfile.PNPM))
				require.NoError(t, err)
				for _, attestation := range []struct {
					kind, predicateType string
					predicate           any
				}{
					{"slsaprovenance1", attest.ProvenanceType, attest.Provenance(attest.Build{Repository: "https://github.com/joelhooks/joelclaw", SHA: strings.Repeat("a", 40)})},
					{"cyclonedx", attest.SBOMType, sbom},
					{attest.DeploymentType, attest.DeploymentType, attest.Deployment{App: "system-bus", Seq: 42}},
				} {
					out, err := cosign.run(t, "verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", attestation.kind, ref)
					require.Error(t, err, "before it is there: %s", out)
					_, _, err = n.Attest(t.Context(), ref, attestation.predicateType, attestation.predicate)
					require.NoError(t, err)
					out, err = cosign.run(t, "verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", attestation.kind, ref)
					require.NoError(t, err, out)
				}
			})

			t.Run("we accept its provenance, and do not take it for a signature", func(t *testing.T) {
				ref := s.push(t, "attested")
				predicate, err := json.Marshal(attest.Provenance(attest.Build{Repository: "https://github.com/joelhooks/joelclaw", SHA: strings.Repeat("a", 40)}))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(s.dir, "provenance.json"), predicate, 0o644))
				out, err := cosign.run(t, "attest", "--key", "ours.key", "--yes", "--use-signing-config=false", "--tlog-upload=false",
					"--type", "slsaprovenance1", "--predicate", "provenance.json", ref)
				require.NoError(t, err, out)
				policy := ours("provenance")
				policy.Repository = "https://github.com/joelhooks/joelclaw"
				both := s.signer(t, "ours", policy)
				_, err = both.Verify(t.Context(), ref, attest.VerifyOptions{})
				require.ErrorContains(t, err, "no valid signature;")
				sign(t, both, ref)
				verified, err := both.Verify(t.Context(), ref, attest.VerifyOptions{})
				require.NoError(t, err)
				require.Equal(t, strings.Repeat("a", 40), verified.Commit)
			})
		})
	}

	t.Run("it accepts our signed records", func(t *testing.T) {
		s := newShop(t, true)
		cosign := newStock(t, s.dir)
		record := []byte(`{"app":"system-bus","seq":42}`)
		bundle, err := s.signer(t, "ours", nil).SignBlob(t.Context(), record)
		require.NoError(t, err)
		for file, content := range map[string][]byte{"record.json": record, "altered.json": []byte(`{}`), "record.bundle": bundle} {
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, file), content, 0o644))
		}
		check := []string{"verify-blob-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", attest.RecordType, "--bundle", "record.bundle"}
		out, err := cosign.run(t, append(check, "record.json")...)
		require.NoError(t, err, out)
		out, err = cosign.run(t, append(check, "altered.json")...)
		require.Error(t, err, out)
	})

	t.Run("it accepts our keyless signatures of a Sigstore that is a stand-in", func(t *testing.T) {
		sigstore := newStandIn(t)
		s := newShop(t, true)
		cosign := newStock(t, s.dir)
		sigstore.writeRoot(t, s.dir, false)
		for _, version := range []int{1, 2} {
			n := attest.New(sigstore.signing(version), attest.Options{Dir: s.dir, Getenv: environment(sigstore.environment())})
			ref := s.push(t, "keyless")
			sign(t, n, ref)
			for identity, good := range map[string]bool{sigstore.workflow: true, "https://github.com/mallory": false} {
				args := []string{
					"verify", "--trusted-root", "trusted_root.json", "--insecure-ignore-sct", "--certificate-identity", identity,
					"--certificate-oidc-issuer", sigstore.issuer, ref,
				}
				if version == 2 {
					args = append(args, "--use-signed-timestamps")
				}
				out, err := cosign.run(t, args...)
				require.Equal(t, good, err == nil, out)
			}
		}
	})
}
