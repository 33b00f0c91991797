package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// isolate wraps the command line of a build command so that it runs in its own PID
// namespace: it sees only its own children, so it can't read the environment of
// shipit, of the parent shell or of any other process of this user. Processes that
// it leaves running end with it. If the kernel does not let this user make a PID
// namespace, the command line stays as it is.
func (s staging) isolate(ctx context.Context, line []string) []string {
	switch {
	case s.root != s.seen:
		return mounted(s.root, s.seen, line)
	case !isolates(ctx):
		return line
	}
	return append(pidNamespace(), line...)
}

// pidNamespace is the command line that makes a PID namespace with its own /proc. A
// user who is not root needs a user namespace for it, in which ids stay the same.
func pidNamespace() []string {
	line := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		line = append(line, "--user", fmt.Sprintf("--map-user=%d", uid), fmt.Sprintf("--map-group=%d", gid))
	}
	return append(line, "--")
}

// mounted runs a command line that sees the folder root at seen, and starts in
// its tree.
func mounted(root, seen string, line []string) []string {
	mount := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 { // only root in a user namespace can mount; the command does not run as root
		mount = append(mount, "--user", "--map-root-user")
	}
	mount = append(mount, "--", "/bin/sh", "-ec", `mount --bind "$1" "$2"; cd "$2/app"; shift 2; exec "$@"`, "sh", root, seen)
	return append(append(mount, pidNamespace()...), line...)
}

// isolates reports whether this user can make a PID namespace: containers and some
// distributions forbid it.
func isolates(ctx context.Context) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := append(pidNamespace(), "true")
	return exec.CommandContext(limited, args[0], args[1:]...).Run() == nil
}
