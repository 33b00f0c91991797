package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"dagger.io/dagger/engineconn"
)

// session is a `dagger session` process of our own. The SDK starts one too, but
// leaves it behind when the engine cannot be reached: it does not end on SIGTERM.
type session struct {
	*http.Client
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process has been collected
	once  *sync.Once
	drain time.Duration // how long it may take to end once its input is closed
}

// Host is part of every address; the client dials the session whatever it is.
func (s session) Host() string { return "dagger" }

// Close ends the session; part of the SDK's interface.
func (s session) Close() error {
	s.end()
	return nil
}

// end closes the session's input, which asks it to end, and kills it with all
// its children if it does not.
func (s session) end() {
	s.once.Do(func() {
		_ = s.stdin.Close()
		select {
		case <-s.ended:
		case <-time.After(s.drain):
		}
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	})
}

// openSession starts a session and waits until it says where it listens. What it
// writes for people goes to line.
func openSession(ctx context.Context, cli string, drain time.Duration, line func(string)) (session, error) {
	cmd := exec.Command(cli, "session", "--label", "dagger.io/sdk.name:go", "--label", "dagger.io/sdk.version:"+engineconn.CLIVersion)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s := session{cmd: cmd, ended: make(chan struct{}), once: &sync.Once{}, drain: drain}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	s.stdin = stdin
	outRead, outWrite := io.Pipe()
	errRead, errWrite := io.Pipe()
	cmd.Stdout, cmd.Stderr = outWrite, errWrite
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return s, &EngineError{reason: fmt.Sprintf("start %s: %v", cli, err)}
	}
	go func() {
		_ = cmd.Wait()
		outWrite.Close()
		errWrite.Close()
		close(s.ended)
	}()
	last := make(chan string, 1)
	go func() { last <- pass(errRead, line) }()
	params := make(chan engineconn.ConnectParams, 1)
	go readParams(outRead, params)
	if err := s.await(ctx, params, last); err != nil {
		s.kill()
		return s, err
	}
	return s, nil
}

func (s session) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.end()
}

// await takes the session's address, or says why there is none.
func (s *session) await(ctx context.Context, params <-chan engineconn.ConnectParams, last <-chan string) error {
	limit := time.NewTimer(sessionLimit)
	defer limit.Stop()
	hint := "see whether `dagger version` and `docker version` answer"
	select {
	case p := <-params:
		s.Client = sessionClient(p)
		return nil
	case said := <-last:
		return &EngineError{reason: "`dagger session` ended: " + said, hint: hint}
	case <-limit.C:
		return &EngineError{reason: fmt.Sprintf("`dagger session` did not start within %s", sessionLimit), hint: hint}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readParams reads the one line by which a session says where it listens. The
// rest is read too, so that the session never waits for it.
func readParams(r io.Reader, params chan<- engineconn.ConnectParams) {
	in := bufio.NewReader(r)
	text, err := in.ReadBytes('\n')
	var p engineconn.ConnectParams
	if err == nil && json.Unmarshal(text, &p) == nil {
		params <- p
	}
	_, _ = io.Copy(io.Discard, in)
}

// pass hands on lines and returns the last.
func pass(r io.Reader, line func(string)) (last string) {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		if text := scan.Text(); text != "" {
			last = text
			line(text)
		}
	}
	_, _ = io.Copy(io.Discard, r)
	return last
}
