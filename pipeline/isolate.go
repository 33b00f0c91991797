package pipeline

import (
	"context"
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
func isolate(ctx context.Context, args []string) []string {
	if !isolates(ctx) {
		return args
	}
	return append(append(unshareArgs(), "--"), args...)
}

// unshareArgs make a new process table, with a /proc of its own. A user who is
// not root needs a user name space for it, in which the ids stay what they are.
func unshareArgs() []string {
	args := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-current-user")
	}
	return args
}

// isolates reports whether isolate can do its work here: containers and some
// distributions forbid it.
func isolates(ctx context.Context) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := append(unshareArgs(), "--", "true")
	return exec.CommandContext(limited, args[0], args[1:]...).Run() == nil
}
