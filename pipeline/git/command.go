// Package git reads commits: a revision is turned into the tree of one commit,
// and that into the exact bytes of its files. It reads git's objects and nothing
// else: no working directory, no attributes, no network.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// gitError is what git said when it ended with an error.
type gitError struct {
	args   []string
	state  *os.ProcessState
	stderr string
}

func (e *gitError) Error() string {
	msg := lastLine(e.stderr)
	if msg == "" {
		msg = e.state.String()
	}
	return fmt.Sprintf("git %s: %s", e.args[0], msg)
}

// command is git on one repository and nothing else: no variable of the
// caller points it elsewhere, no replacement object stands in for another, and
// nothing is fetched.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	all := append([]string{"--no-replace-objects", "--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false"}, args...)
	cmd := exec.CommandContext(ctx, "git", all...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); passed(name) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	// GIT_NO_LAZY_FETCH is unknown before git 2.45; a transport that may not be
	// used stops the same fetch in every version.
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_TERMINAL_PROMPT=0")
	return cmd
}

// passed are the variables of the caller that git gets: those by which it finds
// itself and its configuration. No other one, as it may be a secret, and git runs
// beside the commands of a build.
func passed(name string) bool {
	return strings.HasPrefix(name, "GIT_CONFIG") || strings.HasPrefix(name, "XDG_") || slices.Contains([]string{
		"PATH", "HOME", "USER", "LOGNAME", "SUDO_UID", "TMPDIR", "LD_LIBRARY_PATH", "DEVELOPER_DIR", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES",
	}, name)
}

// silenceLimit is how long git may take for a command, or for the next bytes of an
// object: beyond it, it or its disk hangs.
const silenceLimit = 30 * time.Second

// run runs one command and returns its stdout and stderr. A non-zero end is a *gitError.
func run(ctx context.Context, dir string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, silenceLimit, fmt.Errorf("git %s does not end within %s: it or its disk hangs", args[0], silenceLimit))
	defer cancel()
	cmd := command(ctx, dir, args...)
	cmd.WaitDelay = time.Second // what it started may hold its output open
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = &gitError{args: args, state: exit.ProcessState, stderr: errOut.String()}
	}
	return out.String(), errOut.String(), err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "fatal: ")
}
