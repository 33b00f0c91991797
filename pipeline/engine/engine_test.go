package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noEngine is an environment in which nothing leads to an engine. bin is the
// PATH; scripts put there play container runtimes and the dagger program.
func noEngine(t *testing.T) (bin string) {
	t.Helper()
	for _, name := range []string{sessionPort, sessionToken, runnerHost, cliBinary} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	bin = t.TempDir()
	t.Setenv("PATH", bin)
	return bin
}

func program(t *testing.T, bin, name, script string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+script+"\n"), 0o755))
}

// closedPort is a port on which nothing listens, and that nobody is given by chance.
const closedPort = "1"

func TestAnEngineThatCannotBeReachedIsOneLine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setUp func(t *testing.T, bin string)
		says  []string
		hint  string
	}{
		{"nothing at all", func(*testing.T, string) {},
			[]string{"neither Docker nor Podman is installed", runnerHost}, "start Docker or Podman"},
		{"Docker without its daemon",
			func(t *testing.T, bin string) {
				program(t, bin, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
			},
			[]string{"docker does not answer (Cannot connect to the Docker daemon)"}, "start Docker"},
		{"a dead session port",
			func(t *testing.T, _ string) { t.Setenv(sessionPort, closedPort); t.Setenv(sessionToken, "x") },
			[]string{sessionPort, "nothing answers there"}, "unset " + sessionPort},
		{"a session port without its token",
			func(t *testing.T, _ string) { t.Setenv(sessionPort, "1234") },
			[]string{sessionToken}, "set both"},
		{"a runner's socket that is not there",
			func(t *testing.T, _ string) { t.Setenv(runnerHost, "unix:///nowhere/engine.sock") },
			[]string{"unix:///nowhere/engine.sock", "cannot be reached"}, "start the engine"},
		{"a runner's port that is closed",
			func(t *testing.T, _ string) { t.Setenv(runnerHost, "tcp://127.0.0.1:"+closedPort) },
			[]string{"cannot be reached"}, "start the engine"},
		{"a runner that is no address",
			func(t *testing.T, _ string) { t.Setenv(runnerHost, "engine") },
			[]string{"no address"}, "tcp://host:port"},
		{"a dagger program that is not there",
			func(t *testing.T, bin string) {
				program(t, bin, "docker", "exit 0")
				t.Setenv(cliBinary, "/nowhere/dagger")
			},
			[]string{cliBinary, "/nowhere/dagger"}, "unset it"},
		{"a session that ends at once",
			func(t *testing.T, bin string) {
				program(t, bin, "docker", "exit 0")
				program(t, bin, "dagger", "echo starting >&2; echo 'start engine: failed to run command [docker version]' >&2; exit 1")
			},
			[]string{"`dagger session` ended", "start engine: failed"}, "docker version"},
		{"an engine of another version",
			func(t *testing.T, bin string) {
				program(t, bin, "docker", "exit 0")
				program(t, bin, "dagger", `if test "$1" = version; then echo 'dagger v9.9.9 (image://x) linux/amd64'; exit; fi; echo 'Error: incompatible engine version v0.20.0 [traceparent:6a8d-0fe6]' >&2; exit 1`)
			},
			[]string{"the engine is v0.20.0 and the dagger program is v9.9.9", "do not fit"}, "best v0."},
		{"a program of another version",
			func(t *testing.T, bin string) {
				program(t, bin, "docker", "exit 0")
				program(t, bin, "dagger", `echo '3   : ┆ [0.0s] | 14:40:11 INF connected name=vm client-version=v0.10.0 server-version=v0.20.0' >&2; echo 'Error: start session: connect buildkit session: unexpected status 500: incompatible client version v0.10.0' >&2; exit 1`)
			},
			[]string{"the engine is v0.20.0 and the dagger program is v0.10.0", "do not fit"}, "install engine and program in one version"},
		{"a session that ends at once, of a runner that is there",
			func(t *testing.T, bin string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, l.Close()) })
				t.Setenv(runnerHost, "tcp://"+l.Addr().String())
				program(t, bin, "dagger", "echo 'start engine: no answer' >&2; exit 1")
			},
			[]string{"`dagger session` ended", "no answer"}, "engine at tcp://127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.setUp(t, noEngine(t))
			began := time.Now()
			_, err := Connect(context.Background(), Options{})
			var none *Error
			require.ErrorAs(t, err, &none)
			require.NotContains(t, err.Error(), "\n")
			for _, s := range tt.says {
				require.Contains(t, err.Error(), s)
			}
			require.Contains(t, none.Hint(), tt.hint)
			require.Less(t, time.Since(began), runnerLimit)
		})
	}
}

// TestNoSessionIsLeftBehind has a session that behaves as the real one does
// without an engine: it says nothing and does not end on SIGTERM.
func TestNoSessionIsLeftBehind(t *testing.T) {
	stubborn := func(t *testing.T, then string) (pidFile string) {
		t.Helper()
		bin := noEngine(t)
		pidFile = filepath.Join(bin, "pid")
		program(t, bin, "docker", "exit 0")
		program(t, bin, "dagger", fmt.Sprintf("trap '' TERM INT HUP\necho $$ > %s.part && mv %s.part %s\n%s\nwhile :; do sleep 1; done", pidFile, pidFile, pidFile, then))
		return pidFile
	}
	gone := func(t *testing.T, pidFile string) {
		t.Helper()
		data, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		var pid int
		_, err = fmt.Sscan(string(data), &pid)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return ended(pid) && syscall.Kill(-pid, 0) != nil }, time.Minute, 10*time.Millisecond)
	}
	t.Run("when the user gives up", func(t *testing.T) {
		pidFile := stubborn(t, "")
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for {
				if _, err := os.Stat(pidFile); err == nil {
					cancel()
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		_, err := Connect(ctx, Options{})
		require.ErrorIs(t, err, context.Canceled)
		gone(t, pidFile)
	})
	t.Run("when the session does not start", func(t *testing.T) {
		pidFile := stubborn(t, "")
		_, err := openSession(context.Background(), filepath.Join(filepath.Dir(pidFile), "dagger"), limits{start: 5 * time.Second}, func(string) {})
		require.ErrorContains(t, err, "did not start within 5s")
		gone(t, pidFile)
	})
	t.Run("when the session does not answer", func(t *testing.T) {
		pidFile := stubborn(t, fmt.Sprintf(`echo '{"port":%s,"session_token":"x"}'`, closedPort))
		_, err := Connect(context.Background(), Options{Drain: 100 * time.Millisecond})
		var none *Error
		require.ErrorAs(t, err, &none)
		require.ErrorContains(t, err, "does not answer")
		gone(t, pidFile)
	})
}

// The lines are those of the command line v0.20.0 on a real engine.
func TestWhatASessionSaysIsUndecorated(t *testing.T) {
	for line, want := range map[string]string{
		"1   : dagger session --label dagger.io/sdk.name:go":                              "dagger session --label dagger.io/sdk.name:go",
		"4   : ┆ ┆ connecting to engine DONE [0.0s]":                                      "connecting to engine DONE [0.0s]",
		"14  : [1m12s] | added 12 packages":                                               "added 12 packages",
		"2   : ┆ [0.2s] | Cannot connect to the Docker daemon":                            "Cannot connect to the Docker daemon",
		"1   : ! start engine: failed to run command [docker version]: exit status 1":     "! start engine: failed to run command [docker version]: exit status 1",
		"Error: start engine: exit status 1 [traceparent:7c41158e5b2ae786-46cc0a6311db]":  "start engine: exit status 1",
		"registry.test/node@sha256:00: not found [traceparent:2ebe06465b96-ed16a2f19f5d]": "registry.test/node@sha256:00: not found",
		"": "",
	} {
		require.Equal(t, want, Undecorated(line))
	}
}

// The lines are those of the command line v0.20.0 on a real engine.
func TestOnlyWhatIsUnusualOfAStartIsPassedOn(t *testing.T) {
	const told = `1   : dagger session --label dagger.io/sdk.name:go
2   : ┆ connect
2   : ┆ [0.0s] | cloud url=https://dagger.cloud/traces/setup
3   : ┆ ┆ starting engine
3   : ┆ ┆ [4.1s] | pulling registry.dagger.io/engine:v0.20.0
3   : ┆ ┆ starting engine DONE [9.0s]
4   : ┆ ┆ connecting to engine
4   : ┆ ┆ [0.0s] | 14:40:11 INF connected name=vm client-version=v0.20.0 server-version=v0.20.1
4   : ┆ ┆ connecting to engine DONE [0.0s]
5   : ┆ ┆ starting session
5   : ┆ ┆ starting session DONE [0.0s]
2   : ┆ connect DONE [0.1s]
`
	var starting []string
	got := pass(strings.NewReader(told), func(line string) { starting = append(starting, line) })
	require.Equal(t, []string{"pulling registry.dagger.io/engine:v0.20.0"}, starting)
	require.Equal(t, said{last: "connect DONE [0.1s]", client: "v0.20.0", engine: "v0.20.1"}, got)
}

func TestARunnerThatRunsIsNotWaitedForAsOneThatIsPulled(t *testing.T) {
	for host, want := range map[string]time.Duration{
		"unix:///run/dagger/engine.sock": runnerLimit, "tcp://127.0.0.1:1234": runnerLimit, "kube-pod://engine": runnerLimit,
		"docker-container://engine": runnerLimit, "docker-image://registry.test/engine": sessionLimit, "image://registry.test/engine": sessionLimit,
	} {
		t.Setenv(runnerHost, host)
		require.Equal(t, want, startLimit(runnerHost), host)
	}
	require.Equal(t, sessionLimit, startLimit("docker"))
}

func TestASessionOfOurOwn(t *testing.T) {
	var token string
	lines := make(chan string, 10)
	said := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _, _ = r.BasicAuth()
		if r.URL.Path == "/query" && len(said) == 0 { // what the session says once it answers is not of its start
			said <- <-lines
		}
		fmt.Fprint(w, `{"data":{"version":"v0.21.8"}}`)
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	bin := noEngine(t)
	program(t, bin, "podman", "exit 0")
	program(t, bin, "dagger", fmt.Sprintf(`echo "$@" > %s/args; echo "2   : ┆ starting, NO_COLOR=$NO_COLOR" >&2; echo '{"port":%s,"session_token":"t0ken"}'; cat > /dev/null; echo ended > %s/ended`, bin, port, bin))
	e, err := Connect(t.Context(), Options{Progress: func(line string) { lines <- line }})
	require.NoError(t, err)
	require.Equal(t, "podman", e.By)
	require.Equal(t, "t0ken", token)
	e.Close()
	require.FileExists(t, filepath.Join(bin, "ended"), "it was asked to end, and had the time to")
	args, err := os.ReadFile(filepath.Join(bin, "args"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(args), "session "))
	require.Equal(t, "starting, NO_COLOR=1", <-said)
}

// The answers are those of v0.20.0 whose engine was killed.
func TestAnEngineThatEndsWhileItBuilds(t *testing.T) {
	for _, answer := range []string{
		`returned error 502: {"data":null,"errors":[{"message":"http do: Post \"http://dagger/query\": unexpected EOF"}]}`,
		`Post "http://dagger/query": dial tcp 127.0.0.1:4242: connect: connection refused`,
		`make request: Post "http://dagger/query": EOF`,
	} {
		killed := false
		t.Setenv(runnerHost, "kube-pod://dagger-0?namespace=ci")
		e := &Engine{By: runnerHost, kill: func() { killed = true }}
		err := e.Explain(errors.New(answer))
		var broken *BrokenError
		require.ErrorAs(t, err, &broken, answer)
		require.True(t, killed, "or closing the connection would wait for it")
		require.Regexp(t, `^the Dagger engine of _EXPERIMENTAL_DAGGER_RUNNER_HOST ended while it built: (unexpected EOF|connection refused|EOF)$`, err.Error())
		require.Contains(t, broken.Hint(), "kubectl logs --previous dagger-0 --namespace ci")
	}
	other := errors.New("registry.test/node@sha256:00: not found")
	require.Equal(t, other, (&Engine{}).Explain(other))
}

// ended reports whether a process is gone, or only waits to be collected.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
