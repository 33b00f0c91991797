package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// command is a program to run as part of a cluster. It gets a standard input
// that ends when this process does, and its output goes to DIR/log/NAME.log.
type command struct {
	name string
	path string
	args []string
	env  []string // beside this process's own
	attr *syscall.SysProcAttr
}

// process is a started command.
type process struct {
	name  string
	order int
	cmd   *exec.Cmd
	log   string
	alive io.Closer // its standard input
	done  chan struct{}
	err   error // why it ended; read after done
}

// start runs cmd and records it. The process is reaped when it ends.
func (s *state) start(c command) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	logPath := filepath.Join(s.dir, "log", c.name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stdin, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(withoutProxies(os.Environ()), c.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, log, log
	cmd.SysProcAttr = c.attr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// Ctrl-C is for us; we end them in order.
	cmd.SysProcAttr.Setpgid = true
	if err := s.launcher.start(cmd); err != nil {
		_ = alive.Close()
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p := &process{name: c.name, order: len(s.Processes), cmd: cmd, log: logPath, alive: alive, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.running[c.name] = p
	m, err := markOf(cmd.Process.Pid)
	if err != nil {
		return p, p.failure()
	}
	s.Processes[c.name] = m
	return p, s.save()
}

// withoutProxies leaves out what would send requests to nodes and pods to a proxy:
// all parts of a cluster are on this machine.
func withoutProxies(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}, strings.ToUpper(name))
	})
}

// stop ends the named process: SIGTERM and a grace period first, if there is any,
// then SIGKILL. It returns when the process is gone; one that is not there is fine.
func (s *state) stop(ctx context.Context, name string, grace time.Duration) error {
	s.mu.Lock()
	p := s.running[name]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	if grace > 0 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-ctx.Done():
		case <-time.After(grace):
		}
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.alive.Close()
	return s.keep(func(r *record) {
		delete(s.running, name)
		delete(r.Processes, name)
	})
}

// awaitFile returns when path is there; that is how a part says that it is ready.
func (p *process) awaitFile(ctx context.Context, path string, limit time.Duration) error {
	return p.await(ctx, limit, func(context.Context) error {
		_, err := os.Stat(path)
		return err
	})
}

// await returns when ready says nil, with what it said last when the limit is
// over, and at once when the process has ended.
func (p *process) await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready in %s", limit))
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (%w); its log ends with:\n%s", p.name, context.Cause(ctx), err, tail(p.log, 5))
		case <-tick.C:
		}
	}
}

// failure tells that p ended by itself, and its last log lines.
func (p *process) failure() error {
	<-p.done
	why := p.err
	if why == nil {
		why = errors.New("exit status 0")
	}
	return fmt.Errorf("%s ended: %w; its log ends with:\n%s", p.name, why, tail(p.log, 8))
}

// tail gives the last n lines of a file, or why it cannot.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// mark names a process for good: its pid alone may be another's by now.
type mark struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // when it started, in the system's own words
}

func markOf(pid int) (mark, error) {
	start, err := startTime(pid)
	return mark{PID: pid, Start: start}, err
}

// alive tells whether the marked process still runs.
func (m mark) alive() bool {
	start, err := startTime(m.PID)
	return err == nil && start == m.Start
}

func (m mark) signal(sig syscall.Signal) error {
	if !m.alive() {
		return nil
	}
	return syscall.Kill(m.PID, sig)
}

// kill ends the marked process and waits until it is gone.
func (m mark) kill() error {
	limit := time.Now().Add(time.Minute)
	for m.alive() {
		if err := syscall.Kill(m.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("process %d does not end", m.PID)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
