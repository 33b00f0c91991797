package attest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/release"
)

func TestPredicates(t *testing.T) {
	digit := func(d string, n int) string { return strings.Repeat(d, n) }
	for file, predicate := range map[string]any{
		"provenance.json": attest.Provenance(attest.Build{
			Repository: "https://x-access-token:s3cr3t@github.com/joelhooks/joelclaw", SHA: digit("a", 40), Tree: digit("b", 40),
			Image: "worker", Package: "packages/system-bus", Lockfile: "pnpm-lock.yaml",
			Closure:   map[string]string{"pnpm-lock.yaml": digit("c", 40), "packages/system-bus": digit("d", 40), "packages/clock": digit("e", 40)},
			Bases:     []string{"docker.io/oven/bun:1.3.9@sha256:" + digit("1", 64)},
			Platforms: []string{"linux/amd64"}, Recipe: [][]string{{"pnpm", "install", "--prod"}}, Key: digit("f", 64),
			Builder: "embedded", Version: "1.2.3", RunID: "42", RunURL: "https://github.com/joelhooks/joelclaw/actions/runs/42",
		}),
		"deployment.json": attest.DeploymentOf(release.Record{
			App: "system-bus", Seq: 42, Kind: release.KindRelease, SHA: digit("a", 40), Version: "1.4.2", Outcome: release.Settled, Parity: true,
			Roles: []release.RoleRecord{{Name: "cluster", Target: release.TargetKubernetes, Digest: "sha256:" + digit("1", 64), LiveDigest: "sha256:" + digit("1", 64), InParity: true, TookMS: 900}},
		}),
	} {
		t.Run(file, func(t *testing.T) {
			out, err := json.Marshal(predicate)
			require.NoError(t, err)
			golden(t, file, out)
		})
	}
}
