// Package host carries a role's image to a machine and runs it there as a
// service of systemd or launchd. The image's layers become a read-only release
// directory, the role's definition becomes a unit or plist, and what runs is
// read back from the kernel: never from a link, never from what was asked for.
//
// The machine is this one or one reached over SSH. It needs nothing but a POSIX
// shell, tar, awk, sha256sum or shasum, and its service manager. Every step can
// be repeated: a run that was cut off is finished or undone by the next one.
package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Options are the rare settings of a Target. The zero value works for all but
// Prepare, which needs ImageFor.
type Options struct {
	// ImageFor fetches the image of a reference by digest for a platform such as
	// linux/amd64.
	ImageFor func(ctx context.Context, ref, platform string) (v1.Image, error)
	// Partial lets Open succeed though machines cannot be reached: each call for a
	// role there tries again, and fails.
	Partial bool

	Progress  release.Progress
	Timeout   time.Duration // of connecting; default 10s
	KeepAlive time.Duration // between signs of life; a connection that misses two is dead; default 5s
	Listen    time.Duration // how long one with a port has until it listens there; default 1m
}

// machine is one machine and the one connection to it. Its methods may be
// called from several goroutines.
type machine struct {
	name     string // the address it was reached by, or "this machine"
	platform string // os/arch in Go's words, such as linux/amd64
	home     string
	id       string // the same by whatever name the machine is reached
	uid      string
	run      string // marks what this run stages, so that the next run knows what was left over
	via      transport
	o        Options
	unpacks  keyed
}

// connect reaches the machine that h names: this one if h.Address is empty,
// otherwise over SSH. Errors: *hostKeyError, *authError, *unreachableError.
func connect(ctx context.Context, h config.Host, o Options) (*machine, error) {
	o.Timeout = or(o.Timeout, 10*time.Second)
	o.KeepAlive = or(o.KeepAlive, 5*time.Second)
	o.Listen = or(o.Listen, time.Minute)
	m := &machine{name: "this machine", o: o, via: local{}, run: newID()}
	if h.Address != "" {
		m.name = h.Address
		conn, err := dialSSH(ctx, h, o)
		if err != nil {
			return nil, err
		}
		m.via = conn
	}
	if err := m.introduce(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("ask %s what it is: %w", m.name, err), m.via.close())
	}
	return m, nil
}

// introduceScript prints what the machine is. Clones of one disk have one machine
// id, but were not booted as one.
const introduceScript = `uname -s && uname -m && id -u && printf '%s\n' "$HOME"
id=$(cat /etc/machine-id /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.uuid kern.bootsessionuuid 2>/dev/null)
printf '%s\n' "$(printf '%s' "$id" | tr '\n' ' ')"`

// introduce asks the machine for its platform, user, home and identity.
func (m *machine) introduce(ctx context.Context) error {
	res, err := m.read(ctx, script(introduceScript))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(res.Stdout, "\n"), "\n")
	if len(lines) < 4 {
		return fmt.Errorf("an answer of %d lines", len(lines))
	}
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[lines[1]]
	if arch == "" {
		arch = lines[1]
	}
	m.platform, m.uid, m.home = strings.ToLower(lines[0])+"/"+arch, lines[2], lines[3]
	if len(lines) > 4 {
		m.id = lines[4]
	}
	return nil
}

// close ends the connection.
func (m *machine) close() error { return m.via.close() }

// read runs one command that changes nothing; an exit code that is not 0 and not
// tolerated is an *exitError. Transient exit codes are tried again for a few seconds.
func (m *machine) read(ctx context.Context, cmd command) (result, error) {
	return m.exec(ctx, cmd, m.via.run)
}

// exec runs one command by run, as often as it takes.
func (m *machine) exec(ctx context.Context, cmd command, run func(context.Context, command) (result, error)) (result, error) {
	const tries, pause = 12, 400 * time.Millisecond
	for try := 1; ; try++ {
		res, err := run(ctx, cmd)
		if err != nil {
			return res, err
		}
		switch {
		case res.Exit == 0 || cmd.tolerates(res.Exit):
			return res, nil
		case cmd.transient(res.Exit) && try < tries:
			if err := sleep(ctx, pause); err != nil {
				return res, err
			}
		default:
			return res, &exitError{Machine: m.name, Program: cmd.program(), Exit: res.Exit, Stderr: res.Stderr}
		}
	}
}

// each runs commands of one write in order and stops at the first error.
func (m *machine) each(ctx context.Context, w write, cmds []command) error {
	for _, cmd := range cmds {
		if _, err := m.change(ctx, w, cmd); err != nil {
			return err
		}
	}
	return nil
}

// machines holds one connection for each address, shared by the roles there.
type machines struct {
	o     Options
	dials keyed
	mu    sync.Mutex
	known map[string]*machine
}

// newMachines holds no connection yet.
func newMachines(o Options) *machines { return &machines{o: o, known: map[string]*machine{}} }

// machineKey tells machines, and ways to one machine, apart.
func machineKey(h config.Host) string { return h.Address + "\x00" + h.Key + "\x00" + h.KnownHosts }

// of is the machine of h, connected at the first call for its address. A
// connection that was lost is made again. Several machines are dialled at once.
func (ms *machines) of(ctx context.Context, h config.Host) (*machine, error) {
	key := machineKey(h)
	defer ms.dials.lock(key)()
	ms.mu.Lock()
	m, ok := ms.known[key]
	ms.mu.Unlock()
	if ok && m.via.alive() {
		return m, nil
	}
	m, err := connect(ctx, h, ms.o)
	if err != nil {
		return nil, err
	}
	ms.mu.Lock()
	ms.known[key] = m
	ms.mu.Unlock()
	return m, nil
}

// close ends all connections.
func (ms *machines) close() error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var errs []error
	for key, m := range ms.known {
		errs = append(errs, m.close())
		delete(ms.known, key)
	}
	return errors.Join(errs...)
}

// keyed is a mutex for each key; the zero value works.
type keyed struct {
	mu   sync.Mutex
	held map[string]*sync.Mutex
}

// lock waits for the key and returns what lets it go.
func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*sync.Mutex{}
	}
	one := k.held[key]
	if one == nil {
		one = &sync.Mutex{}
		k.held[key] = one
	}
	k.mu.Unlock()
	one.Lock()
	return one.Unlock
}

func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// sleep waits for d, or returns why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
