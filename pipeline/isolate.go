package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// isolate wraps the command line of a build command so that it runs in a process
// table of its own: it sees no process but its own children, so it can't read the
// environment of shipit, of the shell above it or of anything else of this user.
// What it leaves running ends with it. Where the kernel does not let this user
// make one, the command line stays as it is.
func (s staging) isolate(ctx context.Context, line []string) []string {
	switch {
	case s.root != s.seen:
		return mounted(s.root, s.seen, line)
	case !isolates(ctx):
		return line
	}
	return append(processTable(), line...)
}

// processTable makes a new process table, with a /proc of its own. A user who is
// not root needs a user name space for it, in which the ids stay what they are.
func processTable() []string {
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
	if os.Geteuid() != 0 { // whoever mounts is root in a name space; the command is not
		mount = append(mount, "--user", "--map-root-user")
	}
	mount = append(mount, "--", "/bin/sh", "-ec", `mount --bind "$1" "$2"; cd "$2/app"; shift 2; exec "$@"`, "sh", root, seen)
	return append(append(mount, processTable()...), line...)
}

// isolates reports whether isolate can do its work here: containers and some
// distributions forbid it.
func isolates(ctx context.Context) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := append(processTable(), "true")
	return exec.CommandContext(limited, args[0], args[1:]...).Run() == nil
}
