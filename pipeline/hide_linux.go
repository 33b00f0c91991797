package pipeline

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// HideEnvironment makes the environment and memory of this process unreadable to
// other processes of the same user; the process itself still has them. Build
// commands run as that user and must not find shipit's secrets in /proc. Call it
// before starting any process: child processes have a copy of the environment.
func HideEnvironment() {
	if from, to, ok := environmentBlock(); ok {
		// This overwrites the copy that the kernel shows in /proc; Go has its own copy.
		if mem, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0); err == nil {
			_, _ = mem.WriteAt(make([]byte, to-from), from)
			_ = mem.Close()
		}
	}
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// environmentBlock is where the kernel reads /proc/self/environ from: fields 50
// and 51 of /proc/self/stat, see proc_pid_stat(5).
func environmentBlock() (from, to int64, ok bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	// The second field, the program's name, may hold blanks; it ends with the last ")".
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const first = 3 // number of the field after the name
	if len(fields) <= 51-first {
		return 0, 0, false
	}
	from, errFrom := strconv.ParseInt(string(fields[50-first]), 10, 64)
	to, errTo := strconv.ParseInt(string(fields[51-first]), 10, 64)
	return from, to, errFrom == nil && errTo == nil && from > 0 && to > from
}
