package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
	"github.com/joelhooks/shipit/tools/devhost"
)

const (
	rsyncWay = "rsync -a, systemctl restart, one by one"
	plainWay = "crane export, tar, sync, all at once"
)

// rsync is Debian's, unpacked into the user's cache folder and not installed. The zero
// value is none.
type rsync struct{ root, program, version string }

// newRsync fetches rsync if need be.
func newRsync(ctx context.Context) (r rsync, err error) {
	cache, err := cluster.CacheDir()
	if err != nil {
		return r, err
	}
	unlock, err := cluster.Lock(ctx, "rsync", say)
	if err != nil {
		return r, err
	}
	defer unlock()
	root := filepath.Join(cache, "rsync-debian")
	if _, err := os.Stat(root); err != nil {
		if err := fetchDebian(ctx, root, "rsync", "libpopt0", "libxxhash0"); err != nil {
			return r, err
		}
	}
	at := rsync{root: root, program: filepath.Join(root, "usr/bin/rsync")}
	out, err := exec.CommandContext(ctx, at.words()[0], append(at.words()[1:], "--version")...).Output()
	if err != nil {
		return r, fmt.Errorf("rsync --version: %w", err)
	}
	at.version = strings.Fields(string(out) + " ? ? ?")[2]
	return at, nil
}

// words begin a command line: rsync with the libraries that it was fetched with.
func (r rsync) words() []string {
	libraries, _ := filepath.Glob(filepath.Join(r.root, "usr/lib/*-linux-gnu"))
	return []string{"env", "LD_LIBRARY_PATH=" + strings.Join(libraries, ":"), r.program}
}

func (r rsync) column() tool { return tool{name: rsyncWay, version: r.version} }

// files are those that a machine needs for rsync.
func (r rsync) files() map[string]string {
	if r.program == "" {
		return nil
	}
	files := map[string]string{"/usr/bin/rsync": r.program}
	libraries, _ := filepath.Glob(filepath.Join(r.root, "usr/lib/*-linux-gnu", "*.so.?"))
	for _, file := range libraries {
		files[strings.TrimPrefix(file, r.root)] = file
	}
	return files
}

// rsyncUnit runs what rsync has brought.
const rsyncUnit = "[Service]\nExecStart=/bin/sleep infinity\nWorkingDirectory=/srv/rsync\n"

// install puts the unit on every machine.
func (r rsync) install(ctx context.Context, machines []*devhost.Host) error {
	for _, m := range machines {
		if err := m.Write(ctx, "/etc/systemd/system/by-rsync.service", rsyncUnit, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// lines bring a folder to the machines one after the other, as the loop of a shell does.
func (r rsync) lines(folder string, machines []*devhost.Host) [][]string {
	var lines [][]string
	for _, m := range machines {
		ssh := []string{"ssh", "-i", m.Key, "-o", "UserKnownHostsFile=" + m.KnownHosts, "-o", "IdentitiesOnly=yes"}
		lines = append(lines, append(r.words(), "-a", "--delete", "-e", strings.Join(ssh, " "), folder+"/", m.Address+":/srv/rsync/"),
			append(ssh, m.Address, "systemctl", "restart", "by-rsync"))
	}
	return lines
}

// unpacking pulls the image $2 with crane, $1, into each of the folders that follow, all
// at once, and sees to it that the disk has them.
const unpacking = `crane=$1 image=$2
shift 2
pids=
for dir do
	rm -rf "$dir"
	mkdir "$dir"
	{ "$crane" export --insecure "$image" - | tar -xf - -C "$dir" && sync -f "$dir"; } & pids="$pids $!"
done
for pid in $pids; do wait "$pid" || exit; done`

// plainly is the plainest way to the bytes of an image on the disks of all machines.
func plainly(crane, image string, machines []*devhost.Host) []string {
	line := []string{"sh", "-c", unpacking, "sh", crane, image}
	for _, m := range machines {
		line = append(line, filepath.Join(filepath.Dir(m.Key), "plain"))
	}
	return line
}

// byteCount passes connections on to a registry, and counts what it answers.
type byteCount struct {
	address  string
	listener net.Listener
	sent     atomic.Int64
}

func countBytes(ctx context.Context, registry string) (*byteCount, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &byteCount{address: l.Addr().String(), listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(ctx, conn, registry)
		}
	}()
	return c, nil
}

func (c *byteCount) pass(ctx context.Context, client net.Conn, registry string) {
	defer client.Close()
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", registry)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
	for {
		n, err := io.CopyN(client, server, 1<<20) // the kernel copies
		if c.sent.Add(n); err != nil {
			return
		}
	}
}

func (c *byteCount) reset() { c.sent.Store(0) }

func (c *byteCount) kibibytes() float64 { return float64(c.sent.Load()) / 1024 }

func (c *byteCount) close() error { return c.listener.Close() }

// fetchDebian unpacks packages of Debian into a folder, all or nothing.
func fetchDebian(ctx context.Context, root string, packages ...string) error {
	part := root + ".part"
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return err
	}
	say("fetch " + packages[0] + ", which is unpacked and not installed")
	// As root the cache is not readable to the user that apt would fetch as.
	fetch := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "APT::Sandbox::User=root", "download"}, packages...)...)
	fetch.Dir = part
	if out, err := fetch.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w: %s", packages[0], err, strings.TrimSpace(string(out)))
	}
	debs, err := filepath.Glob(filepath.Join(part, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, part).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, out)
		}
		if err := os.Remove(deb); err != nil {
			return err
		}
	}
	return os.Rename(part, root)
}
