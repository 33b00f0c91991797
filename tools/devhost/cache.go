package devhost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/tools/waiting"
)

// parts is what a boot needs; all of it lies in the cache.
type parts struct {
	nspawn    string // program
	libraries string // LD_LIBRARY_PATH for it; empty if it is installed
	rootfs    string // disk image, never written to
}

const packages = "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,iproute2"

// fetch gives the parts from the cache, and makes them at the first call. Several
// processes may call it at once: one makes them.
func fetch(ctx context.Context, o Options) (parts, error) {
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return parts{}, err
	}
	unlock, err := lock(ctx, filepath.Join(o.Cache, "lock"), o.Progress)
	if err != nil {
		return parts{}, err
	}
	defer unlock()
	suite, mirror, err := source(ctx)
	if err != nil {
		return parts{}, err
	}
	sum := sha256.Sum256([]byte(suite + packages + finish))
	name := suite + "-" + hex.EncodeToString(sum[:4])
	p := parts{rootfs: filepath.Join(o.Cache, name, "rootfs")}
	tools := filepath.Join(o.Cache, name, "tools")
	if _, err := os.Stat(tools); err != nil {
		done := waiting.For(o.Progress, "fetching systemd-nspawn and debootstrap", waiting.About(15*time.Second))
		err := once(tools, func(dir string) error { return fetchTools(ctx, dir) })
		done()
		if err != nil {
			return p, fmt.Errorf("fetch tools: %w", err)
		}
	}
	p.nspawn = filepath.Join(tools, "usr/bin/systemd-nspawn")
	libraries, err := filepath.Glob(filepath.Join(tools, "usr/lib/*-linux-gnu"))
	if err != nil || len(libraries) == 0 {
		return p, errors.Join(errors.New("the fetched tools have no libraries"), err)
	}
	p.libraries = libraries[0] + ":" + filepath.Join(libraries[0], "systemd")
	if _, err := os.Stat(p.rootfs); err != nil {
		done := waiting.For(o.Progress, "making the disk of the host, a Debian "+suite, waiting.About(45*time.Second))
		err := once(p.rootfs, func(dir string) error { return bootstrap(ctx, tools, dir, suite, mirror) })
		done()
		if err != nil {
			return p, fmt.Errorf("make the disk image: %w", err)
		}
	}
	return p, nil
}

// once makes a folder under a temporary name and renames it when it is whole.
func once(dir string, fill func(string) error) error {
	temp := dir + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return err
	}
	if err := fill(temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return os.Rename(temp, dir)
}

// source is the suite of this Debian and the mirror that it gets packages from;
// "" leaves the choice to debootstrap.
func source(ctx context.Context) (suite, mirror string, err error) {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, found := strings.CutPrefix(line, "VERSION_CODENAME="); found {
			suite = strings.Trim(v, `"`)
		}
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages", "Codename: "+suite, "Component: main").Output()
	if err == nil {
		for _, line := range strings.Split(string(out), "\n") {
			if _, uri, found := strings.Cut(line, " "); found && !strings.Contains(uri, "security") {
				return suite, strings.TrimSuffix(uri, "/"), nil
			}
		}
	}
	return suite, "", nil
}

// fetchTools unpacks the packages of the programs that boot the machine, with
// package lists of its own: those of this system are not touched.
func fetchTools(ctx context.Context, dir string) error {
	state := filepath.Join(dir, "apt")
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, sub), 0o755); err != nil {
			return err
		}
	}
	apt := func(words ...string) error {
		argv := append([]string{"apt-get", "-q", "-o", "Dir::State::Lists=" + state + "/lists", "-o", "Dir::Cache=" + state + "/cache", "-o", "APT::Sandbox::User=root"}, words...)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = state
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", words[0], err, tail(string(out), 600))
		}
		return nil
	}
	if err := apt("update"); err != nil {
		return err
	}
	if err := apt("download", "systemd-container", "debootstrap", "libsystemd-shared", "libseccomp2", "libip4tc2"); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(state, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if err := run(ctx, "dpkg", "-x", deb, dir); err != nil {
			return err
		}
	}
	return os.RemoveAll(state)
}

// finish turns off what a machine for tests does not need, and what would make
// two boots differ.
const finish = `rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/cache/apt/archives/*.deb
rm -rf /var/lib/apt/lists/*
systemctl mask console-getty.service getty@.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-timesyncd.service systemd-networkd.service >/dev/null 2>&1
systemctl enable ssh.service >/dev/null 2>&1
printf 'PermitRootLogin prohibit-password\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n' >/etc/ssh/sshd_config.d/devhost.conf
touch /etc/machine-id`

// bootstrap fills dir with a Debian. debootstrap mounts in there: it has mounts and
// processes of its own, which end with it, however it ends.
func bootstrap(ctx context.Context, tools, dir, suite, mirror string) error {
	args := []string{
		"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL", "--",
		filepath.Join(tools, "usr/sbin/debootstrap"), "--variant=minbase", "--include=" + packages, suite, dir,
	}
	if mirror != "" {
		args = append(args, mirror)
	}
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = append(os.Environ(), "DEBOOTSTRAP_DIR="+filepath.Join(tools, "usr/share/debootstrap"))
	// Ctrl-C is for this process, which ends all of them and then removes dir.
	cmd.SysProcAttr = attributes()
	runtime.LockOSThread() // the death signal comes with the end of the starting thread
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w: %s", cmp.Or(context.Cause(ctx), err), tail(string(out), 600))
	}
	return run(ctx, "chroot", dir, "sh", "-c", finish)
}

// lock holds a file for this process; it is let go when the process ends, too.
func lock(ctx context.Context, path string, progress func(string)) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		if !told {
			progress("waiting for another process that makes the disk of a host, at most a minute")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-tick.C:
		}
	}
}
