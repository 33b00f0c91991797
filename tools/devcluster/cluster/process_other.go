//go:build !linux

package cluster

import (
	"fmt"
	"os/exec"
	"strings"
)

// launcher starts processes; they notice by the end of their standard input
// when this one dies.
type launcher struct{}

func newLauncher() *launcher { return &launcher{} }

func (*launcher) start(cmd *exec.Cmd) error { return cmd.Start() }

func (*launcher) close() {}

func startTime(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", fmt.Sprint(pid)).Output()
	start := strings.TrimSpace(string(out))
	if err != nil || start == "" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return start, nil
}
