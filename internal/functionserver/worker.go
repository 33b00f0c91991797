package functionserver

import (
	"bufio"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/tools/bunbase"
)

//go:embed testdata/worker
var files embed.FS

// Worker is a process of a worker that is made with Inngest's own SDK.
type Worker struct {
	Port    string
	Process *exec.Cmd
}

// Install puts the worker of testdata and its packages into a folder of a test.
func Install(t testing.TB) string {
	source, err := fs.Sub(files, "testdata/worker")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, source))
	pnpm, err := bunbase.PNPM(t.Context())
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), pnpm, "install", "--frozen-lockfile", "--prod", "--ignore-scripts", "--ignore-workspace")
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return dir
}

// StartWorker starts the worker that Install put into a folder, for the time of a test.
// It registers with the server, as no development server, and listens on loopback.
func (s *Server) StartWorker(t testing.TB, dir string, env map[string]string) *Worker {
	bun, err := bunbase.Bun(t.Context())
	require.NoError(t, err)
	cmd := exec.Command(bun, "--no-install", "run", "src/serve.ts")
	cmd.Dir = dir
	all := map[string]string{
		"HOME": dir, "PATH": os.Getenv("PATH"), "INNGEST_DEV": "0", "INNGEST_BASE_URL": s.URL,
		"INNGEST_SIGNING_KEY": s.SigningKey, "INNGEST_EVENT_KEY": s.EventKey,
	}
	maps.Copy(all, env)
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() })
	port, err := listening(t.Context(), bufio.NewScanner(stdout))
	require.NoError(t, err)
	return &Worker{Port: port, Process: cmd}
}

// listening reads the output of a worker until it says which port it has. The rest is
// read and dropped, so that the worker is never blocked.
func listening(ctx context.Context, lines *bufio.Scanner) (string, error) {
	found := make(chan string, 1)
	go func() {
		for lines.Scan() {
			if port, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
				found <- port
			}
		}
		close(found)
	}()
	select {
	case port, ok := <-found:
		if !ok {
			return "", fmt.Errorf("the worker ended before it listened")
		}
		return port, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
