package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// launcher starts processes that the kernel kills when this one dies. The
// kernel takes the end of the starting thread for that, so one thread starts
// them all and stays.
type launcher struct {
	commands chan *exec.Cmd
	started  chan error
}

func newLauncher() *launcher {
	l := &launcher{commands: make(chan *exec.Cmd), started: make(chan error)}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for cmd := range l.commands {
			cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
			l.started <- cmd.Start()
		}
	}()
	return l
}

// start is called by one goroutine at a time.
func (l *launcher) start(cmd *exec.Cmd) error {
	l.commands <- cmd
	return <-l.started
}

func (l *launcher) close() { close(l.commands) }

// startTime is field 22 of /proc/PID/stat. A zombie has ended.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in brackets, which may hold spaces.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return string(fields[19]), nil
}
