package main

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// TestAClockSinceBootThatIsAnother runs two releases of one machine in time
// namespaces, whose clocks since boot differ by days: neither takes the other, which
// has been stopped for a moment, for dead.
func TestAClockSinceBootThatIsAnother(t *testing.T) {
	besides(t)
	if testing.Short() {
		t.Skip("it needs a control plane; -short leaves it out")
	}
	if out, err := exec.Command("unshare", "--time", "--boottime", "1", "true").CombinedOutput(); err != nil {
		t.Skipf("there are no time namespaces here: %v %s", err, out)
	}
	g := simulated(t)
	for name, days := range map[string][2]string{"the one that comes": {"0", "1000000"}, "the one that is stopped": {"1000000", "0"}} {
		t.Run(name, func(t *testing.T) {
			s := g.shop(t, map[string]string{"0": "clock-here", "1000000": "clock-there"}[days[0]])
			s.does(0, "release", s.sha["v1"])
			first, said := s.inTime(days[0], []string{envAccident + "=" + accident{syscall.SIGSTOP, "before", "kubernetes PATCH services", 1}.String()}, "release", s.sha["v2"])
			require.NoError(t, first.Start())
			stopped(t, first.Process.Pid)
			second, refusal := s.inTime(days[1], nil, "release", s.sha["v1"])
			require.NoError(t, second.Start())
			time.AfterFunc(3*time.Second, func() { _ = first.Process.Signal(syscall.SIGCONT) })
			require.NoError(t, first.Wait(), said)
			_ = second.Wait()
			require.Contains(t, []int{exitOK, exitLocked}, second.ProcessState.ExitCode(), refusal)
			require.NotContains(t, refusal.String(), "is gone")
			s.does(0, "status")
			for _, r := range s.records() {
				require.Equal(t, release.Settled, r.Outcome)
			}
		})
	}
}

// inTime is command in a time namespace of its own.
func (s *shop) inTime(ahead string, env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd, said := s.command(env, args...)
	path, err := exec.LookPath("unshare")
	require.NoError(s.t, err)
	cmd.Args = append([]string{"unshare", "--time", "--boottime", ahead, "--monotonic", ahead, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = path
	return cmd, said
}
