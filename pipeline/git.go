package pipeline

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git names objects by it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// gitError is what git said when it ended with an error.
type gitError struct {
	args   []string
	code   int
	stderr string
}

func (e *gitError) Error() string {
	msg := lastLine(e.stderr)
	if msg == "" {
		msg = fmt.Sprintf("exit code %d", e.code)
	}
	return fmt.Sprintf("git %s: %s", e.args[0], msg)
}

// gitCommand is git on one repository and nothing else: no variable of the
// caller points it elsewhere, no replacement object stands in for another, and
// nothing is fetched.
func gitCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	all := append([]string{"--no-replace-objects", "--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false"}, args...)
	cmd := exec.CommandContext(ctx, "git", all...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		keep := strings.HasPrefix(name, "GIT_CONFIG") || name == "GIT_EXEC_PATH" || name == "GIT_CEILING_DIRECTORIES"
		if !strings.HasPrefix(name, "GIT_") || keep {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	// GIT_NO_LAZY_FETCH is unknown before git 2.45; a transport that may not be
	// used stops the same fetch in every version.
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_TERMINAL_PROMPT=0")
	return cmd
}

// git runs one command and returns its stdout and stderr. A non-zero end is a *gitError.
func git(ctx context.Context, dir string, args ...string) (stdout, stderr string, err error) {
	cmd := gitCommand(ctx, dir, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = &gitError{args: args, code: exit.ExitCode(), stderr: errOut.String()}
	}
	return out.String(), errOut.String(), err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "fatal: ")
}

// blob is one file of a commit.
type blob struct{ path, id string }

// MissingObjectError is a file of the commit whose content this clone does not
// hold (a partial clone), or holds damaged.
type MissingObjectError struct{ Path, ID, Reason string }

func (e *MissingObjectError) Error() string {
	return fmt.Sprintf("%s: object %s %s", e.Path, e.ID, e.Reason)
}

// readBlobs passes the exact bytes of every blob to fn, in order, through one
// git process. Each blob is checked against its id; a missing one is a
// *MissingObjectError.
func readBlobs(ctx context.Context, gitDir string, blobs []blob, fn func(b blob, size int64, r io.Reader) error) error {
	if len(blobs) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := gitCommand(ctx, gitDir, "--git-dir="+gitDir, "cat-file", "--batch", "--buffer")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start git: %w", err)
	}
	go func() {
		w := bufio.NewWriter(stdin)
		for _, b := range blobs {
			_, _ = w.WriteString(b.id + "\n")
		}
		_ = w.Flush()
		_ = stdin.Close()
	}()
	out := bufio.NewReaderSize(stdout, 1<<20)
	for _, b := range blobs {
		if err = readBlob(out, b, fn); err != nil {
			break
		}
	}
	if err != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	var missing *MissingObjectError
	if errors.As(err, &missing) && missing.Reason == endOfStream {
		missing.Reason = "cannot be read: " + lastLine(stderr.String())
	}
	if err == nil && waitErr != nil {
		err = fmt.Errorf("git cat-file: %s", lastLine(stderr.String()))
	}
	return err
}

const endOfStream = "ended"

func readBlob(out *bufio.Reader, b blob, fn func(blob, int64, io.Reader) error) error {
	head, err := out.ReadString('\n')
	if err != nil {
		return &MissingObjectError{Path: b.path, ID: b.id, Reason: endOfStream}
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[1] != "blob" {
		return &MissingObjectError{Path: b.path, ID: b.id, Reason: "is missing from this clone"}
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fmt.Errorf("read %s: git said %q", b.path, head)
	}
	sum := objectHash(b.id, size)
	body := io.TeeReader(io.LimitReader(out, size), sum)
	if err := fn(b, size, body); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read %s: %w", b.path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.id {
		return &MissingObjectError{Path: b.path, ID: b.id, Reason: "is damaged: its bytes are those of " + got}
	}
	_, err = out.Discard(1)
	return err
}

// objectHash is the hash that names a blob of that size, as long as id.
func objectHash(id string, size int64) hash.Hash {
	sum := sha1.New() //nolint:gosec // git names objects by it
	if len(id) == 2*sha256.Size {
		sum = sha256.New()
	}
	fmt.Fprintf(sum, "blob %d\x00", size)
	return sum
}
