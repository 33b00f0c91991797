package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Holder is how this process signs the lock: user@host, its process id, and a
// number of its own for the run.
func Holder() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	run := make([]byte, 4)
	_, _ = rand.Read(run) // never fails: crypto/rand ends the program instead
	return fmt.Sprintf("%s@%s pid %d run %s", name, host, os.Getpid(), hex.EncodeToString(run))
}

// liveness is what another process can know of a holder's process.
type liveness int

const (
	unknown liveness = iota // on another machine, or not to be told
	alive
	dead
)

// processID names this process among all that ever ran on this machine: the
// boot, the process namespace, the id, and the time at which it started. It is
// "" where the machine does not tell.
func processID() string {
	scope := processScope()
	if scope == "" {
		return ""
	}
	pid := os.Getpid()
	return fmt.Sprintf("%s %d %s", scope, pid, startOf(pid))
}

// processState says whether the process that processID named elsewhere still runs.
func processState(named string) liveness {
	fields := strings.Fields(named)
	if len(fields) != 3 || fields[0] != processScope() {
		return unknown
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil || pid <= 0 {
		return unknown
	}
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return dead
	}
	// Where start times cannot be read, a process of that id counts as the holder.
	if start := startOf(pid); start != "-" && fields[2] != "-" && start != fields[2] {
		return dead
	}
	return alive
}

// processScope is equal for two processes only if they can see each other's id.
func processScope() string {
	if runtime.GOOS != "linux" {
		return otherScope()
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + space
}

// startOf is when a process began, in the kernel's own count since boot; "-" if
// it cannot be read. A zombie has ended: it counts as another process.
func startOf(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "-"
	}
	// The name in brackets may hold spaces and brackets of its own. What follows
	// it is the third field, the state; the 22nd is the start time.
	fields := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
	if len(fields) < 20 {
		return "-"
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "ended"
	}
	return fields[19]
}
