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
// it leaves running end with it.
//
// The package stores are a mount of their own in it, so that a package manager
// copies out of them. It would make hard links otherwise, and then a script that
// changes an installed file where it is would change the store, and every later
// build. If the kernel does not let this user do either, the command line stays as
// it is.
func (s staging) isolate(ctx context.Context, line []string) []string {
	var mounts []mount
	if !s.opts.NoCache { // or they last no longer than the build
		mounts = append(mounts, mount{s.caches, s.caches})
	}
	if s.root != s.seen {
		mounts = append(mounts, mount{s.root, s.seen})
	}
	switch {
	case s.root != s.seen || works(ctx, mounted(mounts, s.tree(), []string{"true"})):
		return mounted(mounts, s.seenTree(), line)
	case isolates(ctx):
		return append(pidNamespace(), line...)
	}
	return line
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

// mount shows the folder from at the path at.
type mount struct{ from, at string }

// mounted runs a command line in the folder dir, with the mounts, in a PID namespace.
func mounted(mounts []mount, dir string, line []string) []string {
	out := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 { // only root in a user namespace can mount; the command does not run as root
		out = append(out, "--user", "--map-root-user")
	}
	const script = `while test "$1" != --; do mount --bind "$1" "$2"; shift 2; done; shift; cd "$1"; shift; exec "$@"`
	out = append(out, "--", "/bin/sh", "-ec", script, "sh")
	for _, m := range mounts {
		out = append(out, m.from, m.at)
	}
	out = append(out, "--", dir)
	return append(append(out, pidNamespace()...), line...)
}

// isolates reports whether this user can make a PID namespace: containers and some
// distributions forbid it.
func isolates(ctx context.Context) bool { return works(ctx, append(pidNamespace(), "true")) }

// works reports whether a command line that makes namespaces ends well.
func works(ctx context.Context, args []string) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return exec.CommandContext(limited, args[0], args[1:]...).Run() == nil
}
