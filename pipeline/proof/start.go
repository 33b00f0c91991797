package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// startable says whether this process may enter an unpacked image.
func startable() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return fmt.Errorf("%w: entering the image needs root on Linux", errNotHere)
	}
	for _, name := range []string{"unshare", "mount"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w", errNotHere, err)
		}
	}
	return nil
}

// enter mounts what the process needs, in name spaces of its own, and becomes
// the image's user in the image's root. Its network has no way out.
const enter = `set -e
mount --bind "$SHIPIT_TREE" "$SHIPIT_ROOT/app"
mount -o remount,bind,ro "$SHIPIT_ROOT/app"
mount -t proc proc "$SHIPIT_ROOT/proc"
mount -t tmpfs -o mode=1777 tmpfs "$SHIPIT_ROOT/tmp"
mount -t tmpfs -o mode=755 tmpfs "$SHIPIT_ROOT/dev"
for d in null zero random urandom; do
	: > "$SHIPIT_ROOT/dev/$d"
	mount --bind "/dev/$d" "$SHIPIT_ROOT/dev/$d"
done
root=$SHIPIT_ROOT wd=$SHIPIT_WORKDIR uid=$SHIPIT_UID gid=$SHIPIT_GID unshare=$SHIPIT_UNSHARE
unset SHIPIT_TREE SHIPIT_ROOT SHIPIT_WORKDIR SHIPIT_UID SHIPIT_GID SHIPIT_UNSHARE
PATH=$SHIPIT_PATH
unset SHIPIT_PATH
exec "$unshare" --root="$root" --wd="$wd" --setgid="$gid" --setuid="$uid" -- "$@"
`

// start runs the entrypoint as each role of the cluster has it. One that ends
// within prove.start does not start.
func (s Subject) start(ctx context.Context, fs rootfs) ([]release.Finding, error) {
	span := time.Duration(s.Image.Prove.Start)
	if span == 0 || len(s.Image.Entrypoint) == 0 {
		return nil, nil
	}
	roles := s.Roles
	if len(roles) == 0 {
		roles = []config.Role{{}}
	}
	var out []release.Finding
	for _, r := range roles {
		f, err := s.startRole(ctx, fs, r, span)
		if err != nil {
			return nil, err
		}
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

func (s Subject) startRole(ctx context.Context, fs rootfs, r config.Role, span time.Duration) (*release.Finding, error) {
	limited, cancel := context.WithTimeoutCause(ctx, span, errStayedUp)
	defer cancel()
	cmd, err := s.inside(limited, fs, r, s.Image.Entrypoint)
	if err != nil {
		return nil, err
	}
	tail, err := process.Stream(cmd, nil, func(string) {})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(context.Cause(limited), errStayedUp):
		return nil, nil
	case err == nil:
		err = errors.New("exit status 0")
	}
	f := refusal(release.CodeImageStartFailed, strings.Join(s.Scripts, ", "),
		fmt.Sprintf("ended within %s: %v: %s", span, err, strings.Join(tail[max(0, len(tail)-5):], " | ")), "it ran without a network; prove.start: 0s does not start it")
	f.Role = r.Name
	return &f, nil
}

// inside is a command that will run in the unpacked image, in the package's
// folder, as the image's user and with a role's environment.
func (s Subject) inside(ctx context.Context, fs rootfs, r config.Role, command []string) (*exec.Cmd, error) {
	if err := startable(); err != nil {
		return nil, err
	}
	for _, d := range []string{"app", "dev", "proc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(fs.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return nil, err
	}
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--net", "--", "/bin/sh", "-c", enter, "sh"}
	cmd := process.Group(ctx, unshare, append(args, command...)...)
	cmd.Env = s.startEnvironment(fs, r, unshare)
	return cmd, nil
}

var errStayedUp = errors.New("stayed up")

// startEnvironment is the image's environment with the role's laid over it, and
// what the script above takes out again.
func (s Subject) startEnvironment(fs rootfs, r config.Role, unshare string) []string {
	uid, gid, ok := strings.Cut(s.Image.UserOr(), ":")
	if !ok {
		gid = uid
	}
	search := "/usr/local/bin:/usr/bin:/bin"
	var env []string
	for _, kv := range process.Environment(process.Environment(fs.config.Env, s.Image.Env), r.Env) {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
			continue
		}
		env = append(env, kv)
	}
	if r.Port != 0 {
		env = append(env, fmt.Sprintf("PORT=%d", r.Port))
	}
	return append(env, "PATH="+os.Getenv("PATH"), "SHIPIT_PATH="+search, "SHIPIT_TREE="+s.Tree, "SHIPIT_ROOT="+fs.dir,
		"SHIPIT_WORKDIR="+path.Join(root, s.Closure.Package), "SHIPIT_UID="+uid, "SHIPIT_GID="+gid, "SHIPIT_UNSHARE="+unshare)
}
