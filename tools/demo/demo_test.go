package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/transcript"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// TestMain lets the test binary be the demo, for a test that interrupts it.
func TestMain(m *testing.M) {
	if os.Getenv("SHIPIT_TEST_RUN_DEMO") != "" {
		os.Exit(run(true))
	}
	os.Exit(m.Run())
}

// TestTheDemo plays the whole story on what this machine has: real pods and a real
// host, or what can stand in for them. The names of the subtests say which.
func TestTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo brings up a cluster; -short leaves it out")
	}
	s := shapeOf(false)
	t.Run("real pods", func(t *testing.T) { skipIf(t, s.noPods) })
	t.Run("a real host", func(t *testing.T) { skipIf(t, s.noHost) })
	said := played(t, s)
	require.Regexp(t, `All 8 steps ended as they must`, said)
	for _, must := range []string{"$ shipit release\n", "$ shipit rollback --to 1.0.0\n", "exit code 5 as it must be, in parity on 2.0.0", "exit code 6 as it must be, drift"} {
		require.Contains(t, said, must)
	}
	if s.noHost == "" {
		require.Regexp(t, `✗ .*gateway`, said)
		require.Contains(t, said, "ProbeFailed")
	}
	if s.noHost == "" && s.noPods == "" {
		theReadmeShowsIt(t, said)
	}
}

// theReadmeShowsIt holds the session on README.md's first screen, of which lines are left
// out, to what the demo has printed.
func theReadmeShowsIt(t *testing.T, said string) {
	t.Helper()
	page, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, session, found := strings.Cut(string(page), "```console\n")
	require.True(t, found)
	session, _, _ = strings.Cut(session, "```")
	session = regexp.MustCompile(`(?m)^(\$ .*?) +# .*$`).ReplaceAllString(session, "$1")
	require.Greater(t, strings.Count(session, "$ shipit "), 3)
	require.Empty(t, transcript.Missing(session, said), "README.md shows what the demo does not print:\n%s", said)
}

// TestTheDemoWithoutRoot plays the story where no pod and no host is real.
func TestTheDemoWithoutRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo brings up a cluster; -short leaves it out")
	}
	said := played(t, shapeOf(true))
	require.Contains(t, said, "roles host and gateway: skipped: ")
	require.Regexp(t, `All 8 steps ended as they must`, said)
	require.Regexp(t, `✗ .*cluster`, said)
	require.Contains(t, said, "CrashLoop")
}

func skipIf(t *testing.T, why string) {
	t.Helper()
	if why != "" {
		t.Skip(why)
	}
}

func played(t *testing.T, s shape) string {
	t.Helper()
	var out bytes.Buffer
	err := show(t.Context(), s, &out, false)
	require.NoError(t, err, out.String())
	return out.String()
}

// TestAnInterruptedDemoLeavesNothing interrupts the demo while a release runs, as
// Ctrl-C does: every process of its group gets the signal.
func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo brings up a cluster; -short leaves it out")
	}
	temp := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHIPIT_TEST_RUN_DEMO=1", "TMPDIR="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "→ check what could stop") {
			require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
		}
	}
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 130, exit.ExitCode())
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, processesThatName(t, temp))
}

// processesThatName lists the command lines that hold text.
func processesThatName(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(text)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// TestAStepThatEndsOtherwiseFailsTheDemo plays a step with a shipit that answers as
// it is told: the exit code of a command, and what runs after it.
func TestAStepThatEndsOtherwiseFailsTheDemo(t *testing.T) {
	inParity := `{"version": "1.0.0", "sha": "aaaa", "parity": true, "roles": [{"name": "cluster", "digest": "d1", "liveDigest": "d1", "liveSHA": "aaaa", "inParity": true}]}`
	for _, c := range []struct {
		does, exit, status string
		wants              step
		fault              string
	}{
		{"a step that ends as it must", "0", inParity, step{runs: "1.0.0"}, ""},
		{"another exit code", "4", inParity, step{code: 5, runs: "1.0.0"}, "exit code 4, not 5"},
		{"an exit code where none is wanted", "5", inParity, step{runs: "1.0.0"}, "exit code 5, not 0"},
		{"another version", "0", inParity, step{runs: "2.0.0"}, "in parity on 1.0.0, and not 2.0.0"},
		{"drift", "0", strings.Replace(inParity, "true", "false", 1), step{runs: "1.0.0"}, "drift, and not 1.0.0"},
		{"parity where drift is wanted", "6", inParity, step{code: 6}, "in parity on 1.0.0, and not drift"},
		{"a role on another commit", "0", strings.Replace(inParity, `"liveSHA": "aaaa"`, `"liveSHA": "bbbb"`, 1), step{runs: "1.0.0"}, "the role cluster runs d1 of bbbb, and not d1 of aaaa"},
		{"a role that is missing", "0", `{"version": "1.0.0", "sha": "aaaa", "parity": true}`, step{runs: "1.0.0"}, "there are 0 roles, and not cluster"},
		{"no answer", "0", "no JSON", step{runs: "1.0.0"}, "shipit status"},
	} {
		t.Run(c.does, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\n[ \"$1\" = status ] && { cat <<'END'\n" + c.status + "\nEND\nexit; }\nexit " + c.exit + "\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "shipit"), []byte(script), 0o755))
			var out bytes.Buffer
			p := &play{ground: &ground{shipit: filepath.Join(dir, "shipit"), cluster: &cluster.Cluster{}}, out: &out, repo: dir}
			c.wants.line = "shipit release"
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e := p.step(ctx, c.wants)
			if c.fault == "" {
				require.NoError(t, e.fault)
				return
			}
			require.ErrorContains(t, e.fault, c.fault)
		})
	}
}
