package devhost_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
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
	require.Eventually(t, func() bool { return answers(ctx, h.IP) }, 10*time.Second, 50*time.Millisecond)

	dir := filepath.Dir(h.Key)
	require.NoError(t, h.Down())
	require.NoDirExists(t, dir)
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		require.False(t, strings.HasSuffix(l.Name, filepath.Base(dir)), "its interface is still there")
	}
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
