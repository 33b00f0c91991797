// Package devhost boots a real machine for tests: a Debian with systemd and
// sshd in a container of systemd-nspawn, with a network, a control group and a
// throw-away disk of its own.
//
// It needs Debian, root and a network for the first run. Nothing is installed:
// the programs and the machine's disk image are unpacked into a cache folder.
// All that runs dies with the process that booted it.
package devhost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/joelhooks/shipit/tools/waiting"
)

// Options are the rare settings of a boot; the zero value works.
type Options struct {
	Cache    string            // default: shipit/devhost in the user's cache folder
	Files    map[string]string // path on the machine → file here that is copied there, with its mode
	Progress func(string)      // nil is silent
}

// Host is a machine that runs. Its methods are for one goroutine at a time.
type Host struct {
	Address    string // root@IP, for SSH
	IP         string // of the machine
	Gateway    string // of this side of its network
	Key        string // private key file that it lets in
	KnownHosts string // file that names its host key
	Root       string // an empty folder of the machine

	dir    string // of this boot, below the cache
	groups []string
	link   string // this side's network interface
	leader int    // its init, as this side numbers it
	cmd    *exec.Cmd
	ended  chan error
	down   sync.Once
	undo   error
}

// Skip is why a machine cannot be booted here; empty if it can.
func Skip() string {
	switch {
	case runtime.GOOS != "linux":
		return "a real systemd needs Linux"
	case os.Geteuid() != 0:
		return "booting a machine with systemd-nspawn needs root"
	}
	if _, err := os.Stat("/etc/debian_version"); err != nil {
		return "the machine's disk is made by debootstrap, which needs Debian"
	}
	for _, program := range []string{"apt-get", "dpkg", "ip", "unshare", "nsenter", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			return "booting a machine needs " + program
		}
	}
	return ""
}

// Up boots a machine and waits until its SSH server answers. What an earlier run
// that was killed left behind is removed first.
func Up(ctx context.Context, o Options) (*Host, error) {
	if why := Skip(); why != "" {
		return nil, errors.New(why)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache folder: %w", err)
		}
		o.Cache = filepath.Join(dir, "shipit", "devhost")
	}
	if err := sweep(o.Cache); err != nil {
		return nil, fmt.Errorf("sweep %s: %w", o.Cache, err)
	}
	parts, err := fetch(ctx, o)
	if err != nil {
		return nil, err
	}
	defer waiting.For(o.Progress, "booting a machine", waiting.About(8*time.Second))()
	h := &Host{Root: "/srv/shipit", ended: make(chan error, 1)}
	if err := h.boot(ctx, o, parts); err != nil {
		return nil, errors.Join(fmt.Errorf("boot: %w", err), h.Down())
	}
	return h, nil
}

func (h *Host) boot(ctx context.Context, o Options, p parts) error {
	began := time.Now()
	id := newID()
	h.dir = filepath.Join(o.Cache, "run", id)
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := claim(h.dir); err != nil {
		return err
	}
	if err := h.furnish(o.Files); err != nil {
		return err
	}
	if err := h.makeGroups(id); err != nil {
		return err
	}
	start, err := h.spawn(p)
	if err != nil {
		return err
	}
	if err := h.network(ctx, id); err != nil {
		return err
	}
	if err := start(); err != nil {
		return err
	}
	if err := h.await(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(h.dir, "console"))
		return fmt.Errorf("%w; its console: %s", err, tail(string(log), 600))
	}
	o.Progress(fmt.Sprintf("%s is up (%.1fs)", h.IP, time.Since(began).Seconds()))
	return nil
}

// Down ends the machine and removes what Up made; a second call does nothing.
func (h *Host) Down() error {
	h.down.Do(func() { h.undo = h.remove() })
	return h.undo
}

func (h *Host) remove() error {
	if h.dir == "" {
		return nil
	}
	if h.cmd != nil {
		_ = h.cmd.Process.Kill() // an error says that it has ended
		<-h.ended
	}
	return wipe(h.dir, h.groups)
}

// Exec runs a program on the machine, through its namespaces and not its
// network, and returns what it printed. An exit code that is not 0 is an error
// with the program's words.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	enter := []string{
		"--target", fmt.Sprint(h.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
	}
	out, err := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Write puts a file on the machine.
func (h *Host) Write(ctx context.Context, path, content string, mode os.FileMode) error {
	_, err := h.Exec(ctx, "sh", "-c", `mkdir -p "${1%/*}" && printf %s "$2" >"$1" && chmod "$3" "$1"`, "sh", path, content, fmt.Sprintf("%o", mode))
	return err
}

func newID() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}

// run runs a program of this machine and tells its words if it fails.
func run(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, tail(string(out), 600))
	}
	return nil
}
