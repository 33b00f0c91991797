package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// local runs commands on this machine.
type local struct{}

func (local) run(ctx context.Context, c Command) (Result, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = c.Stdin
	stdout, stderr := &capped{limit: stdoutCap}, &capped{limit: stderrCap}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	res := Result{Stdout: stdout.text.String(), Stderr: stderr.text.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return res, fmt.Errorf("run %s: %w", c.program(), context.Cause(ctx))
	case errors.As(err, &exit):
		res.Exit = exit.ExitCode()
		if res.Exit < 0 {
			res.Exit = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
		}
		return res, nil
	case err != nil && cmd.ProcessState != nil && cmd.ProcessState.Success():
		// The program ended well without reading all of its input.
		return res, nil
	case err != nil:
		return res, fmt.Errorf("run %s: %w", c.program(), err)
	}
	return res, nil
}

func (local) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (local) alive() bool  { return true }
func (local) close() error { return nil }
