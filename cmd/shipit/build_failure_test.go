package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/sample"
)

// building is `shipit build --no-push` of the sample with one command.
func building(t *testing.T, script string, args ...string) (cmd *exec.Cmd, out, said *bytes.Buffer) {
	t.Helper()
	home := t.TempDir()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	r := sample.New(t, sample.Options{Dir: filepath.Join(home, "repo"), Registry: strings.TrimPrefix(server.URL, "http://")})
	run, err := json.Marshal([][]string{{"sh", "-c", script}})
	require.NoError(t, err)
	r.Commit("command", map[string]string{"shipit.yaml": strings.Replace(r.Read("shipit.yaml"), "    entrypoint:", "    run: "+string(run)+"\n    entrypoint:", 1)})
	shipit, err := exec.LookPath("shipit")
	require.NoError(t, err)
	out, said = &bytes.Buffer{}, &bytes.Buffer{}
	cmd = exec.Command(shipit, append([]string{"-C", r.Dir, "build", "--no-push", "--cache", filepath.Join(home, "cache")}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, ".cache")), out, said
	return cmd, out, said
}

func TestWhatFailsInEachImageIsTold(t *testing.T) {
	cmd, out, said := building(t, "true")
	committed, err := os.ReadFile(filepath.Join(cmd.Args[2], "shipit.yaml"))
	require.NoError(t, err)
	registry := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(string(committed))
	config := filepath.Join(t.TempDir(), "shipit.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`app: system-bus
images:
  gateway: {repository: `+registry+`/gateway, package: packages/gateway, base: scratch, run: [[sh, -c, "echo in the gateway; exit 4"]]}
  worker: {repository: `+registry+`/worker, package: packages/system-bus, base: scratch, run: [[sh, -c, "echo in the worker; exit 5"]]}
roles:
  cluster: {image: worker, kubernetes: {namespace: busrig}}
  gateway: {image: gateway, kubernetes: {namespace: busrig}}
`), 0o644))
	cmd.Args = append(cmd.Args, "--config", config)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, exitRefused, exit.ExitCode(), said)
	require.Empty(t, out.String())
	require.Contains(t, said.String(), ": exit status 4\n    in the gateway\n")
	require.Contains(t, said.String(), ": exit status 5\n    in the worker\n")
	require.Equal(t, 2, strings.Count(said.String(), "shipit: image "), said)
}

func TestABuildThatFails(t *testing.T) {
	events := filepath.Join(t.TempDir(), "events")
	cmd, out, said := building(t, "echo first; echo second >&2; exit 4", "-o", "json", "--events", events)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, exitRefused, exit.ExitCode(), said)

	require.Regexp(t, `shipit: .*run sh -c echo first.*: exit status 4\n    first\n    second\n`, said.String(), "each line of the command is a line")
	var doc struct {
		buildResult
		Outcome *string `json:"outcome"`
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &doc), out)
	require.Nil(t, doc.Outcome, "it is a build's document and not a release's")
	require.Equal(t, "system-bus", doc.App)
	require.Len(t, doc.SHA, 40)
	require.Equal(t, exitRefused, doc.ExitCode)
	require.Contains(t, doc.Error, "exit status 4")
	require.Equal(t, []string{"first", "second"}, doc.Tail)

	data, err := os.ReadFile(events)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var last struct{ Mark, Message string }
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.Equal(t, "fail", last.Mark)
	require.Regexp(t, "exit status 4$", last.Message, "its lines are events before it")
}

func TestASecondSignalAMomentLaterIsTheSame(t *testing.T) {
	// A line that comes soon after another is not shown: it says so again and again.
	mark := fmt.Sprintf("mark-%x", rand.Uint64()) // builds of others may be in the same folder, before this one and after it
	cmd, _, said := building(t, ": > "+mark+"; i=0; while test $i -lt 20000; do : > f$i; i=$((i+1)); done; while test $i -lt 20600; do echo made; sleep 0.1; i=$((i+1)); done")
	watched := &untilMade{said: said, made: make(chan struct{})}
	cmd.Stderr = watched
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-watched.made:
	case <-ended:
		t.Fatal(said)
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	time.Sleep(20 * time.Millisecond) // as `timeout` and CI runners do; it clears up meanwhile
	_ = cmd.Process.Signal(syscall.SIGTERM)
	var exit *exec.ExitError
	require.True(t, errors.As(<-ended, &exit))
	require.Equal(t, exitInterrupted, exit.ExitCode(), said)
	require.NoFileExists(t, "/tmp/shipit-build/app/"+mark, "it has cleared up")
}

// untilMade closes made when "made" is written to it.
type untilMade struct {
	said *bytes.Buffer
	made chan struct{}
}

func (u *untilMade) Write(p []byte) (int, error) {
	had := strings.Contains(u.said.String(), "made\n")
	n, err := u.said.Write(p)
	if !had && strings.Contains(u.said.String(), "made\n") {
		close(u.made)
	}
	return n, err
}
