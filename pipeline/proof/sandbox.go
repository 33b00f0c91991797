package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/process"
)

// sandbox is a program that will run in an unpacked image, whose users and owners are
// the image's. What it writes is gone when it has ended.
type sandbox struct {
	cmd    *exec.Cmd
	inside *os.File // gets a byte when the program is about to start
	ours   *os.File
	done   func()
}

// entered reports whether the program was started: if not, what failed is not the
// image's. Call it once the command has ended.
func (s sandbox) entered() bool {
	_ = s.ours.Close()
	n, _ := s.inside.Read(make([]byte, 1))
	return n == 1
}

func (s sandbox) close() {
	_ = errors.Join(s.ours.Close(), s.inside.Close())
	s.done()
}

// startable says whether this process may enter an unpacked image.
func startable() error {
	if !owns() {
		return fmt.Errorf("%w: entering the image, as its users and with its owners of files, needs root on Linux", errNotHere)
	}
	for _, name := range []string{"unshare", "mount"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w", errNotHere, err)
		}
	}
	return nil
}

// owns reports whether this process can give files to any user.
func owns() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }

// enter mounts what the process needs, in name spaces of its own, and becomes the
// image's user in the image's root. Its network has no way out, and what it writes is
// in memory: the unpacked base and the built tree stay as they are.
const enter = `set -e
cd "$SHIPIT_SCRATCH"
mount -t tmpfs -o mode=755,size=1g tmpfs .
cd "$SHIPIT_SCRATCH"
mkdir base tree root upper work appupper appwork
mount --bind "$SHIPIT_BASE" base
mount --bind "$SHIPIT_TREE" tree
mount -t overlay -o lowerdir=base,upperdir=upper,workdir=work overlay root
mkdir -p root/app root/proc root/dev root/tmp
mount -t overlay -o lowerdir=tree,upperdir=appupper,workdir=appwork overlay root/app
mount -t proc proc root/proc
mount -t tmpfs -o mode=1777 tmpfs root/tmp
mount -t tmpfs -o mode=755 tmpfs root/dev
for d in null zero random urandom; do
	: > root/dev/$d
	mount --bind /dev/$d root/dev/$d
done
root=$SHIPIT_SCRATCH/root wd=$SHIPIT_WORKDIR uid=$SHIPIT_UID gid=$SHIPIT_GID unshare=$SHIPIT_UNSHARE PATH=$SHIPIT_PATH
unset SHIPIT_SCRATCH SHIPIT_BASE SHIPIT_TREE SHIPIT_WORKDIR SHIPIT_UID SHIPIT_GID SHIPIT_UNSHARE SHIPIT_PATH
printf . >&3
exec "$unshare" --root="$root" --wd="$wd" --setgid="$gid" --setuid="$uid" -- "$@" 3>&-
`

// inside is a command in the unpacked image, in the package's folder, as the image's
// user and with a role's environment.
func (s Subject) inside(ctx context.Context, fs rootfs, r config.Role, command []string) (sandbox, error) {
	if err := startable(); err != nil {
		return sandbox{}, err
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return sandbox{}, err
	}
	scratch, done, err := process.Scratch(process.Prove)
	if err != nil {
		return sandbox{}, err
	}
	inside, ours, err := os.Pipe()
	if err != nil {
		done()
		return sandbox{}, err
	}
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--net", "--", "/bin/sh", "-c", enter, "sh"}
	cmd := process.Group(ctx, unshare, append(args, command...)...)
	cmd.Env, cmd.ExtraFiles = append(s.startEnvironment(fs, r, unshare), "SHIPIT_SCRATCH="+scratch), []*os.File{ours}
	return sandbox{cmd, inside, ours, done}, nil
}

// startEnvironment is the image's environment with the role's laid over it, and
// what the script above takes out again.
func (s Subject) startEnvironment(fs rootfs, r config.Role, unshare string) []string {
	uid, gid, ok := strings.Cut(s.Image.UserOr(), ":")
	if !ok {
		gid = uid
	}
	search := "/usr/local/bin:/usr/bin:/bin"
	home := "HOME=" + fs.home(uid)
	var env []string
	for _, kv := range process.Environment(process.Environment(fs.config.Env, s.Image.Env), r.Env) {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
			continue
		}
		if strings.HasPrefix(kv, "HOME=") {
			home = kv
			continue
		}
		env = append(env, kv)
	}
	if r.Port != 0 {
		env = append(env, fmt.Sprintf("PORT=%d", r.Port))
	}
	return append(env, home, "PATH="+os.Getenv("PATH"), "SHIPIT_PATH="+search, "SHIPIT_TREE="+s.Tree, "SHIPIT_BASE="+fs.dir,
		"SHIPIT_WORKDIR="+path.Join(root, s.Closure.Package), "SHIPIT_UID="+uid, "SHIPIT_GID="+gid, "SHIPIT_UNSHARE="+unshare)
}

// home is the home folder of a user, as a container runtime finds it: by /etc/passwd,
// and else /.
func (r rootfs) home(uid string) string {
	at, err := r.at("/etc/passwd")
	if err != nil {
		return "/"
	}
	data, _ := os.ReadFile(at)
	for line := range strings.Lines(string(data)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) > 5 && fields[2] == uid {
			return fields[5]
		}
	}
	return "/"
}
