// Package machine runs commands on one machine: this one, or one that is reached
// over SSH. A command is data; what varies reaches it as arguments and is never
// read by a shell. A change is made behind the fence of the run's lock.
package machine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
)

// Options are the limits of a connection. The zero value works.
type Options struct {
	Timeout   time.Duration // of connecting; default 10s
	KeepAlive time.Duration // between keep-alive requests; a connection that misses two answers is dead; default 5s
}

// Machine is one machine and the one connection to it. It is safe for concurrent
// use.
type Machine struct {
	Name     string // the address it was reached by, or "this machine"
	Platform string // os/arch in Go's words, such as linux/amd64
	Home     string
	ID       string // the same by whatever name the machine is reached; empty if it is not known
	Run      string // marks what this run stages, so that the next run knows what was left over

	via   transport
	locks locks
}

// connect reaches the machine that h names: this one if h.Address is empty,
// otherwise over SSH. Errors: *hostKeyError, *AuthError, *unreachableError.
func connect(ctx context.Context, h config.Host, o Options) (*Machine, error) {
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.KeepAlive = cmp.Or(o.KeepAlive, 5*time.Second)
	m := &Machine{Name: "this machine", via: local{}, Run: NewID()}
	if h.Address != "" {
		m.Name = h.Address
		conn, err := dialSSH(ctx, h, o)
		if err != nil {
			return nil, err
		}
		m.via = conn
	}
	if err := m.introduce(ctx, o.Timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("ask %s what it is: %w", m.Name, err), m.via.close())
	}
	return m, nil
}

// introduceScript prints what the machine is. Clones of one disk have one machine
// id, but were not booted as one.
const introduceScript = `uname -s && uname -m && printf '%s\n' "$HOME"
id=$(cat /etc/machine-id /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.uuid kern.bootsessionuuid 2>/dev/null)
printf '%s\n' "$(printf '%s' "$id" | tr '\n' ' ')"`

// introduce asks the machine for its platform, home and identity.
func (m *Machine) introduce(ctx context.Context, limit time.Duration) error {
	cmd := Script(introduceScript)
	cmd.Limit = limit
	res, err := m.Read(ctx, cmd)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(res.Stdout, "\n"), "\n")
	if len(lines) < 3 {
		return fmt.Errorf("an answer of %d lines", len(lines))
	}
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[lines[1]]
	if arch == "" {
		arch = lines[1]
	}
	m.Platform, m.Home = strings.ToLower(lines[0])+"/"+arch, lines[2]
	if len(lines) > 3 {
		m.ID = lines[3]
	}
	return nil
}

// Close ends the connection.
func (m *Machine) Close() error { return m.via.close() }

// Lock waits until no other part of this run has locked the path, and returns what unlocks
// it.
func (m *Machine) Lock(path string) (unlock func()) { return m.locks.lock(path) }

// Read runs one command that changes nothing; an exit code that is not 0 and not
// tolerated is an *ExitError. Transient exit codes are tried again for a few seconds.
func (m *Machine) Read(ctx context.Context, cmd Command) (Result, error) {
	return m.exec(ctx, cmd, func(ctx context.Context, cmd Command) (Result, error) { return m.limited(ctx, cmd, readLimit) })
}

// A machine may be reached and yet not answer: its disk or its service manager hangs.
const (
	readLimit   = 30 * time.Second
	changeLimit = 2 * time.Minute
)

// limited runs a command once, for its limit or else usual.
func (m *Machine) limited(ctx context.Context, cmd Command, usual time.Duration) (Result, error) {
	limit := cmp.Or(cmd.Limit, usual)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s does not answer within %s", m.Name, limit))
	defer cancel()
	return m.via.run(ctx, cmd)
}

// exec runs one command by run, as often as it takes.
func (m *Machine) exec(ctx context.Context, cmd Command, run func(context.Context, Command) (Result, error)) (Result, error) {
	const tries, pause = 12, 400 * time.Millisecond
	for try := 1; ; try++ {
		res, err := run(ctx, cmd)
		if err != nil {
			return res, err
		}
		if res.Exit == 0 || cmd.tolerates(res.Exit) {
			return res, nil
		}
		if !cmd.transient(res.Exit) || try == tries {
			return res, &ExitError{Machine: m.Name, Program: cmd.program(), Exit: res.Exit, Stderr: res.Stderr}
		}
		select {
		case <-ctx.Done():
			return res, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Each makes changes of one write in order and stops at the first error.
func (m *Machine) Each(ctx context.Context, w Write, cmds []Command) error {
	for _, cmd := range cmds {
		if _, err := m.Change(ctx, w, cmd); err != nil {
			return err
		}
	}
	return nil
}

// NewID is a name that nothing has yet.
func NewID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}
