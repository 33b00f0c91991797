package main

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// interruptible gives cmd a process group of its own. When its context ends the
// group is interrupted, and killed if that does not end it.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
	cmd.WaitDelay = 20 * time.Second
}
