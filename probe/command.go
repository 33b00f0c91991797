package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/config"
)

// runCommand runs a probe's command on this machine. If it fails, the last lines of
// its output are returned as evidence.
func runCommand(ctx context.Context, p config.Probe) ([]string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Cancelling kills the processes that the command started, too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	evidence := lastLines(stdout.String()+stderr.String(), 10)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return evidence, fmt.Errorf("%s: exit code %d", p.Command[0], exit.ExitCode())
	case err != nil:
		return evidence, fmt.Errorf("%s: %w", p.Command[0], err)
	case p.Output == "":
		return nil, nil
	}
	want, err := regexp.Compile(p.Output)
	if err != nil {
		return nil, err
	}
	if !want.Match(stdout.Bytes()) {
		return evidence, fmt.Errorf("%s: its output does not match %s", p.Command[0], p.Output)
	}
	return nil, nil
}

func lastLines(s string, n int) []string {
	var lines []string
	for _, line := range strings.Split(s, "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}
