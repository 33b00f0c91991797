package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/tools/bunbase"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
)

// TestOnARealNode runs what needs the machine's one real node, for which other packages'
// tests wait: all at the same time, and nothing else of this package beside it, so that
// the node is soon given back.
func TestOnARealNode(t *testing.T) {
	g := real(t)
	// The stories on hosts are of three roles: a worker in a real pod, and a worker and the
	// gateway as services of a real systemd, reached over SSH. They take longest.
	for _, story := range []string{"three-roles", "by-hand", "adopted", "hand-made", "no-cluster"} {
		t.Run("hosts/"+story, func(t *testing.T) {
			t.Parallel()
			g.runOnHost(t, story)
		})
	}
	t.Run("no secret is written", func(t *testing.T) {
		t.Parallel()
		noSecretIsWritten(t, g)
	})
	// These run on a real kubelet, containerd and registry, where the worker is run by bun.
	for _, story := range []string{"real/late-crash", "real/npm", "real/non-root", "main-job", "equal-bits", "interrupt"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			g.run(t, "testdata/stories/"+story+".txtar", "")
		})
	}
}

// real is a node with a real kubelet, and a registry with an image that holds bun.
func real(t *testing.T) ground {
	t.Helper()
	if testing.Short() {
		t.Skip("a real node takes time; -short leaves it out")
	}
	if err := cluster.CanRunReal(); err != nil {
		t.Skip("real pods cannot run here: " + err.Error())
	}
	c := realNode.join(t)
	bun, err := bunbase.Image(t.Context())
	require.NoError(t, err)
	pnpm, err := bunbase.PNPM(t.Context())
	require.NoError(t, err)
	dependencies, err := filepath.Abs("../../pipeline/testdata/dependencies")
	require.NoError(t, err)
	return ground{tools: filepath.Dir(pnpm), dependencies: dependencies, kubeconfig: c.Kubeconfig, registry: c.Registry, blobs: filepath.Join(c.Dir(), "node", "registry", "docker", "registry", "v2"),
		private: c.AuthRegistry, base: pushBase(t, c.Registry, bun), client: clientOf(t, c.Kubeconfig)}
}

// withHost is the same ground with a machine of its own, on which there are bun and those files.
func (g ground) withHost(t *testing.T, files map[string]string) ground {
	t.Helper()
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	bun, err := bunbase.Bun(t.Context())
	require.NoError(t, err)
	all := map[string]string{"/usr/local/bin/bun": bun}
	for to, from := range files {
		all[to] = from
	}
	g.host, err = devhost.Up(t.Context(), devhost.Options{Files: all, Progress: progressOf(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.host.Down()) })
	return g
}

// runOnHost runs a story on a machine of its own, with the configuration that is the story's
// or that of all.
func (g ground) runOnHost(t *testing.T, story string) {
	g = g.withHost(t, map[string]string{"/opt/functions.ts": "testdata/stories/hosts/functions.ts"})
	g.adopted = story == "adopted"
	config, err := os.ReadFile("testdata/stories/hosts/" + story + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		config, err = os.ReadFile("testdata/stories/hosts/shipit.yaml")
	}
	require.NoError(t, err)
	fill := strings.NewReplacer("${HOST}", g.host.Address, "${KEY}", g.host.Key, "${KNOWN_HOSTS}", g.host.KnownHosts, "${ROOT}", g.host.Root, "${IP}", g.host.IP)
	g.run(t, "testdata/stories/hosts/"+story+".txtar", fill.Replace(string(config)))
}
