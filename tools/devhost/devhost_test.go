package devhost_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/tools/devhost"
)

func TestAMachineComesUpAndGoesWithoutATrace(t *testing.T) {
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	if testing.Short() {
		t.Skip("boots a machine; -short leaves it out")
	}
	ctx := t.Context()
	h, err := devhost.Up(ctx, devhost.Options{Progress: func(s string) { t.Log(s) }, Files: map[string]string{"/usr/local/bin/hello": hello(t)}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Down()) })

	out, err := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
	require.NoError(t, err, "its systemd is healthy")
	require.Equal(t, "running\n", out)
	out, err = h.Exec(ctx, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello\n", out)

	require.NoError(t, h.Cut(ctx))
	require.False(t, answers(ctx, h.IP), "a cut network carries nothing")
	require.NoError(t, h.Heal(ctx))
	require.Eventually(t, func() bool { return answers(ctx, h.IP) }, time.Minute, 50*time.Millisecond)

	dir := filepath.Dir(h.Key)
	require.NoError(t, h.Down())
	require.NoDirExists(t, dir)
	require.Eventually(t, func() bool { return !hasInterface(t, filepath.Base(dir)) }, time.Minute, 10*time.Millisecond, "its interface is still there")
}

func answers(ctx context.Context, ip string) bool {
	d := net.Dialer{Timeout: 500 * time.Millisecond}
	conn, err := d.DialContext(ctx, "tcp", ip+":22")
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func hello(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hello")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\necho hello\n"), 0o755))
	return file
}

// bootOnly makes a run of this test boot a machine, print its folder and wait.
const bootOnly = "SHIPIT_DEVHOST_BOOT_ONLY"

func TestAKilledRunLeavesNothingToTheNext(t *testing.T) {
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	if testing.Short() {
		t.Skip("boots a machine; -short leaves it out")
	}
	if os.Getenv(bootOnly) != "" {
		h, err := devhost.Up(t.Context(), devhost.Options{})
		require.NoError(t, err)
		_, err = os.Stdout.WriteString("\nbooted " + filepath.Dir(h.Key) + "\n")
		require.NoError(t, err)
		select {} // until it is killed
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), bootOnly+"=yes")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var dir string
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		dir, _ = strings.CutPrefix(lines.Text(), "booted ")
		if !strings.HasPrefix(lines.Text(), "booted ") {
			dir = ""
		}
	}
	require.DirExists(t, dir)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	// It could not clean up. Another package's tests may do so now, in the same cache.
	id := filepath.Base(dir)
	require.Eventually(t, func() bool { return !hasInterface(t, id) }, time.Minute, 20*time.Millisecond, "its machine ends with it, and the network with the machine")

	h, err := devhost.Up(t.Context(), devhost.Options{})
	require.NoError(t, err)
	require.NoDirExists(t, dir)
	groups, err := filepath.Glob("/sys/fs/cgroup/*/shipit-devhost-" + id)
	require.NoError(t, err)
	require.Empty(t, groups)
	require.NoError(t, h.Down())
}

func hasInterface(t *testing.T, id string) bool {
	t.Helper()
	links, err := net.Interfaces()
	require.NoError(t, err)
	return slices.ContainsFunc(links, func(l net.Interface) bool { return strings.HasSuffix(l.Name, id) })
}
