package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline"
)

// runTests runs `shipit test` on the sample, whose image has these settings too.
func runTests(t *testing.T, settings string, args ...string) (code int, out, said string) {
	t.Helper()
	home := t.TempDir()
	r := sample.New(t, sample.Options{Dir: filepath.Join(home, "repo")})
	r.Commit("tests", map[string]string{"shipit.yaml": strings.Replace(r.Read("shipit.yaml"), "    entrypoint:", settings+"    entrypoint:", 1)})
	shipit, err := exec.LookPath("shipit")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), shipit, append([]string{"-C", r.Dir, "test", "--cache", filepath.Join(home, "cache")}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, ".cache")), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		require.NoError(t, err)
	}
	return code, stdout.String(), stderr.String()
}

func TestTheTestsAlone(t *testing.T) {
	const two = "    test: [[test, -e, packages/system-bus/src/serve.ts], [sh, -c, 'echo expected 1; exit 4'], ['true']]\n"
	t.Run("print one line each", func(t *testing.T) {
		code, out, said := runTests(t, two)
		require.Equal(t, exitRefused, code, said)
		lines := strings.Split(out, "\n")
		require.Regexp(t, `^passed   worker  \S+ +test -e packages`, lines[0])
		require.Regexp(t, `^failed   worker  \S+ +sh -c echo`, lines[1])
		require.Regexp(t, `^skipped  worker  0s +true$`, lines[2])
		require.Regexp(t, `shipit: image worker: run sh -c echo.*: exit status 4\n    expected 1\n`, said)
	})
	t.Run("are one document", func(t *testing.T) {
		code, out, said := runTests(t, two, "-o", "json", "--image", "worker")
		require.Equal(t, exitRefused, code, said)
		var doc testResult
		require.NoError(t, json.Unmarshal([]byte(out), &doc), out)
		require.Equal(t, "system-bus", doc.App)
		require.Len(t, doc.SHA, 40)
		require.Len(t, doc.Images, 1)
		require.Equal(t, pipeline.TestFailed, doc.Images[0].Tests[1].Outcome)
		require.Equal(t, []string{"expected 1"}, doc.Images[0].Tests[1].Tail)
		require.Equal(t, exitRefused, doc.ExitCode)
		require.Contains(t, doc.Error, "exit status 4")
	})
	t.Run("pass", func(t *testing.T) {
		code, out, said := runTests(t, "    test: [['true']]\n", "-o", "json")
		require.Zero(t, code, said)
		require.NotContains(t, out, "error")
	})
	t.Run("are none", func(t *testing.T) {
		code, out, said := runTests(t, "")
		require.Zero(t, code, said)
		require.Empty(t, out)
		require.Contains(t, said, "worker has no tests")
	})
	t.Run("name a service that cannot be run", func(t *testing.T) {
		code, _, said := runTests(t, "    test: [['true']]\n    services: {redis: {image: 'docker.io/library/redis@sha256:"+strings.Repeat("0", 64)+"', ports: [6379]}}\n")
		require.Equal(t, exitRefused, code)
		require.Contains(t, said, "images.worker.services.redis")
		require.Contains(t, said, "give images.worker.services.redis a command")
	})
	t.Run("of an image that there is not", func(t *testing.T) {
		code, _, said := runTests(t, "", "--image", "gatway")
		require.Equal(t, exitUsage, code)
		require.Contains(t, said, `"gatway"`)
	})
}

// A service never ends by itself: one that a killed run left would hold its port.
func TestAServiceEndsWithARunThatIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	home := t.TempDir()
	port := strconv.Itoa(freePort(t))
	program := filepath.Join(home, "service")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../pipeline/testdata/service").CombinedOutput()
	require.NoError(t, err, string(out))
	began := filepath.Join(home, "began")
	r := sample.New(t, sample.Options{Dir: filepath.Join(home, "repo")})
	settings := fmt.Sprintf("    test: [[sh, -c, 'touch %s; sleep 600']]\n    services: {db: {command: [%s], ports: [%s], env: {PORT: '%s'}}}\n", began, program, port, port)
	r.Commit("tests", map[string]string{"shipit.yaml": strings.Replace(r.Read("shipit.yaml"), "    entrypoint:", settings+"    entrypoint:", 1)})
	shipit, err := exec.LookPath("shipit")
	require.NoError(t, err)
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), shipit, "-C", r.Dir, "test", "--cache", filepath.Join(home, "cache"))
	cmd.Env, cmd.Stderr = append(os.Environ(), "HOME="+home), &said
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(began); return err == nil }, 5*time.Minute, 20*time.Millisecond, "%s", &said)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	require.Eventually(t, func() bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, time.Minute, 20*time.Millisecond, "the service holds its port")
}

// freePort is one that no program is given by chance in the meantime: it is below those
// that the system chooses from.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 15000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
}
