package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// newHolder is how this process signs the lock: user@host, its process id, and a
// number of its own for the run.
func newHolder() string {
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
// boot, the process namespace, a marker, the id, and the time at which it
// started. It is "" where the machine does not tell.
func processID(marker string) string {
	scope := processScope()
	if scope == "" || marker == "" {
		return ""
	}
	pid := os.Getpid()
	return fmt.Sprintf("%s/%s %d %s", scope, marker, pid, startOf(pid))
}

// processState says whether the process that processID named elsewhere still runs.
func processState(named string) liveness {
	fields := strings.Fields(named)
	if len(fields) != 3 || !markedHere(fields[0]) {
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

// A marker is an empty file of this machine that a holder leaves as long as it
// holds a lock. Machines that were cloned from one snapshot have the same boot
// and may have the same names and addresses, but not the file: without it, a
// process that cannot be found here may be alive there.
func newMarker() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	marker := hex.EncodeToString(random)
	file, err := os.OpenFile(markerPath(marker), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return ""
	}
	_ = file.Close()
	return marker
}

// removeMarker removes what a process of this machine, which is dead or lets its
// lock go, has left. Of another machine's process there is nothing here.
func removeMarker(process string) {
	scope, _, _ := strings.Cut(process, " ")
	if _, marker, ok := cutMarker(scope); ok {
		_ = os.Remove(markerPath(marker))
	}
}

// markedHere reports whether a process that named this scope ran on this machine.
func markedHere(scope string) bool {
	boot, marker, ok := cutMarker(scope)
	if !ok || boot != processScope() {
		return false
	}
	_, err := os.Lstat(markerPath(marker))
	return err == nil
}

// cutMarker splits a scope and its marker, which is a file's name and so must be a number.
func cutMarker(scope string) (boot, marker string, ok bool) {
	i := strings.LastIndex(scope, "/")
	if i < 0 {
		return "", "", false
	}
	number, err := hex.DecodeString(scope[i+1:])
	return scope[:i], scope[i+1:], err == nil && len(number) == 16
}

func markerPath(marker string) string { return filepath.Join(os.TempDir(), "shipit-lock-"+marker) }

// processScope is equal for two processes only if they can see each other's id, and
// read the same start times: those are by the clock of a time namespace.
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
	if clock, err := os.Readlink("/proc/self/ns/time"); err == nil { // as of Linux 5.6
		space += "+" + clock
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
