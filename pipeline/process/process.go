// Package process runs programs: whole process groups that end with a context,
// output by lines without secrets, and what is to be cleared up after them.
package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// TailLines is how many of the last lines of its output Stream returns.
const TailLines = 20

// Group is a command whose whole process group ends with the context.
func Group(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Stream runs the command, passes its output on by lines and returns the last of them,
// at most TailLines.
func Stream(cmd *exec.Cmd, secrets []string, line func(string)) ([]string, error) {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close()
		ended <- err
	}()
	var tail []string
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadString('\n')
		if text = Redact(strings.TrimRight(text, "\r\n"), secrets); text != "" {
			line(text)
			tail = last(tail, text)
		}
		if err != nil {
			break
		}
	}
	err := <-ended
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well and left something running
		err = nil
	}
	return tail, err
}

// last are the last lines of an output to which one is added. A line of pnpm's progress
// takes the place of the one before it, which would leave no room for the error.
func last(lines []string, text string) []string {
	const progress = "Progress: "
	if n := len(lines); n > 0 && strings.HasPrefix(text, progress) && strings.HasPrefix(lines[n-1], progress) {
		lines = lines[:n-1]
	}
	lines = append(lines, text)
	return lines[max(0, len(lines)-TailLines):]
}

// Redact takes secrets out of a line.
func Redact(line string, secrets []string) string {
	for _, s := range secrets {
		line = strings.ReplaceAll(line, s, "***")
	}
	return line
}

// Environment lays variables over a NAME=value list; what is new follows, sorted.
func Environment(base []string, over map[string]string) []string {
	var out []string
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		if _, set := over[name]; !set {
			out = append(out, kv)
		}
	}
	var added []string
	for name, value := range over {
		added = append(added, name+"="+value)
	}
	slices.Sort(added)
	return append(out, added...)
}

// FirstLine is the first line of a text, without blanks around it.
func FirstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// LastLine is the last one.
func LastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// RemoveAll also removes what lies in folders that a tool has made read-only.
func RemoveAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a folder needs x
		}
		return nil
	})
	return os.RemoveAll(dir)
}
