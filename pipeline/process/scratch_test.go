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
	dir, _, err := Scratch("dagger")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "out"), 0o500))
	_, _ = os.Stdout.WriteString("made " + dir + "\n")
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
	var left string
	for lines := bufio.NewScanner(out); left == "" && lines.Scan(); {
		_, left, _ = strings.Cut(lines.Text(), "made ")
	}
	require.DirExists(t, left)
	others := filepath.Join(os.TempDir(), "shipit-dagger-of-a-file")
	require.NoError(t, os.WriteFile(others, nil, 0o600))
	build := filepath.Join(os.TempDir(), "shipit-build")
	require.NoError(t, os.Mkdir(build, 0o700))
	notOurs := filepath.Join(os.TempDir(), "shipit-cluster-1")
	require.NoError(t, os.Mkdir(notOurs, 0o700))

	_, done, err := Scratch("prove")
	require.NoError(t, err)
	require.DirExists(t, left, "its process still runs")
	done()

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	mine, done, err := Scratch("prove")
	require.NoError(t, err)
	defer done()
	require.NoDirExists(t, left)
	require.DirExists(t, mine)
	require.FileExists(t, others)
	require.DirExists(t, build)
	require.DirExists(t, notOurs)
}
