package process

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScratchInAChild makes a folder and waits to be killed.
func TestScratchInAChild(t *testing.T) {
	if os.Getenv("SHIPIT_TEST_SCRATCH") == "" {
		t.Skip("runs only as a child of TestTheFoldersOfAKilledProcessAreSwept")
	}
	for _, purpose := range []Purpose{Dagger, Image} {
		dir, _, err := Scratch(purpose)
		require.NoError(t, err)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "out"), 0o500))
		_, _ = os.Stdout.WriteString("made " + dir + "\n")
	}
	time.Sleep(time.Minute)
}

func TestTheFoldersOfAKilledProcessAreSwept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	cmd := exec.Command(os.Args[0], "-test.run=^TestScratchInAChild$", "-test.v")
	cmd.Env = append(os.Environ(), "SHIPIT_TEST_SCRATCH=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var left []string
	for lines := bufio.NewScanner(out); len(left) < 2 && lines.Scan(); {
		if _, dir, made := strings.Cut(lines.Text(), "made "); made {
			left = append(left, dir)
		}
	}
	require.Len(t, left, 2)
	others := filepath.Join(os.TempDir(), "shipit-dagger-of-a-file")
	require.NoError(t, os.WriteFile(others, nil, 0o600))
	build := filepath.Join(os.TempDir(), "shipit-build")
	require.NoError(t, os.Mkdir(build, 0o700))
	notOurs := filepath.Join(os.TempDir(), "shipit-cluster-1")
	require.NoError(t, os.Mkdir(notOurs, 0o700))

	_, done, err := Scratch(Prove)
	require.NoError(t, err)
	for _, dir := range left {
		require.DirExists(t, dir, "its process still runs")
	}
	done()

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	mine, done, err := Scratch(Prove)
	require.NoError(t, err)
	defer done()
	for _, dir := range left {
		require.NoDirExists(t, dir)
	}
	require.DirExists(t, mine)
	require.FileExists(t, others)
	require.DirExists(t, build)
	require.DirExists(t, notOurs)
}

func TestAFolderThatWouldNotBeSweptIsNotMade(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, _, err := Scratch("other")
	require.EqualError(t, err, `"other" is no purpose of a folder`)
	made, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, made)
}
