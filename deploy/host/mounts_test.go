package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/internal/hosttest"
)

// ownMounts is set where the test program runs itself in a mount namespace of its own.
const ownMounts = "SHIPIT_TEST_OWN_MOUNTS"

// What is mounted below a folder of releases belongs to somebody else. The same is
// tested with a running service where a machine can be booted.
func TestNothingOfAMountIsRemoved(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		withOwnMounts(t)
		return
	}
	m, root := here(t)
	d := inRoot(worker(), root)
	layers := contentOf(layerOf(t, hosttest.File("app/version", "v1")))
	require.NoError(t, m.prepared(t.Context(), roleOf(t, d), layers))
	others := filepath.Join(t.TempDir(), "others data")
	precious := filepath.Join(others, "precious")
	require.NoError(t, os.Mkdir(others, 0o755))
	require.NoError(t, writeFile(precious, "precious"))

	for name, c := range map[string]struct {
		below string // where it is mounted
		do    func() error
	}{
		"an old release is pruned": {d.ReleaseDir() + "/app", func() error {
			_, err := m.store(d).Prune(t.Context(), content.Keep{})
			return err
		}},
		"a release is unpacked again": {d.ReleaseDir() + "/app", func() error { return m.prepared(t.Context(), roleOf(t, d), layers) }},
		"what a killed run left is swept": {filepath.Join(root, "staging", strings.Repeat("f", 64)+".killed.x"), func() error {
			return m.store(d).PrepareStaging(t.Context())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			at := c.below + "/the data"
			sh(t, `mkdir -p "$2"; mount --bind "$1" "$2"`, others, at)
			defer sh(t, `umount "$1"; rmdir "$1"`, at)
			var mounted *content.MountedError
			require.ErrorAs(t, c.do(), &mounted)
			require.Equal(t, []string{at}, mounted.Mounts)
			require.FileExists(t, precious)
			info, err := os.Stat(others)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		})
	}
}

// withOwnMounts runs this test again where it can mount, and where what it mounts
// ends with it.
func withOwnMounts(t *testing.T) {
	t.Helper()
	line := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		line = append(line, "--user", "--map-root-user")
	}
	if exec.Command(line[0], append(line[1:], "mount", "--bind", t.TempDir(), t.TempDir())...).Run() != nil {
		t.Skip("this machine lets nobody mount a folder of its own")
	}
	line = append(line, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name(), "%s", out)
}

func sh(t *testing.T, script string, args ...string) {
	t.Helper()
	out, err := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
