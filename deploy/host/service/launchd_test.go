package service

// launchd cannot run where these tests run: its commands are compared as data,
// and its answers are samples of what `launchctl print` of macOS 14 and 15
// looks like. The script that asks it is run for real by sh, with programs in
// its way that print the samples.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/release"
)

func gatewayPlist() Definition {
	return Definition{release.ServiceDefinition{
		Kind: "launchd", App: "system-bus", Role: "gateway", Service: "com.joel.gateway", Domain: "system",
		File: "com.joel.gateway.plist", Root: "/opt/gateway", Digest: "sha256:" + strings.Repeat("1", 64), Port: 3018,
		Content: "<plist/>", Logs: []string{"/opt/gateway/log/gateway.log"},
	}}
}

func TestLaunchdIsToldInItsOwnWords(t *testing.T) {
	d, l := gatewayPlist(), launchd{home: "/Users/joel"}
	require.Equal(t, []machine.Command{
		{Argv: []string{"launchctl", "enable", "system/com.joel.gateway"}},
		{Argv: []string{"launchctl", "bootstrap", "system", "/Library/LaunchDaemons/com.joel.gateway.plist"}, Retry: []int{5, 37}},
		{Argv: []string{"launchctl", "kickstart", "system/com.joel.gateway"}, AllowExitCodes: []int{37}},
	}, l.Start(d, State{}))
	require.Equal(t, machine.Command{Argv: []string{"launchctl", "bootout", "system/com.joel.gateway"}, AllowExitCodes: []int{3, 36, 113}}, l.Stop(d))
	require.Equal(t, machine.Command{Argv: []string{"launchctl", "kill", "SIGKILL", "system/com.joel.gateway"}, AllowExitCodes: []int{3, 113}}, l.Kill(d))
	require.Equal(t, []string{"tail", "-n", "40", "/opt/gateway/log/gateway.log"}, l.Log(d, State{})[0].Argv)
	require.Empty(t, l.Reload(d), "a plist is read when it is loaded")

	d.Domain = "gui/501"
	require.Equal(t, []string{"launchctl", "bootstrap", "gui/501", "/Users/joel/Library/LaunchAgents/com.joel.gateway.plist"}, l.Start(d, State{})[1].Argv)
}

// askLaunchd runs the script with launchctl, lsof and ps replaced.
func askLaunchd(t *testing.T, sample, cwd, environ string) (State, string) {
	t.Helper()
	bin := t.TempDir()
	stub := func(name, body string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body), 0o755))
	}
	answer := "exit 113"
	if sample != "" {
		file, err := filepath.Abs(filepath.Join("testdata/launchctl", sample))
		require.NoError(t, err)
		answer = "exec cat " + machine.Quote(file)
	}
	stub("launchctl", answer)
	stub("lsof", `case "$*" in
*cwd*) printf 'p4211\nfcwd\nn%s\n' `+machine.Quote(cwd)+` ;;
*) printf 'p4211\nf8\np99\nf3\n' ;;
esac`)
	stub("ps", `case "$*" in
*eww*) echo `+machine.Quote(environ)+` ;;
*pgid*99) echo "   99" ;;
*pgid*) echo " 4211" ;;
*99) echo "node old-gateway.js --token abcdef" ;;
*) echo "/usr/local/bin/bun run src/daemon.ts" ;;
esac`)
	d, l := gatewayPlist(), launchd{home: t.TempDir()}
	argv := l.Inspect(d, "").Argv
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stdin = strings.NewReader(d.Content)
	out, err := cmd.Output()
	require.NoError(t, err)
	return l.Parse(string(out)), string(out)
}

func TestLaunchdIsUnderstood(t *testing.T) {
	digest := "sha256:" + strings.Repeat("1", 64)
	one, conf := 1, 78
	for _, c := range []struct {
		sample string
		phase  Phase
		pid    int
		runs   int
		exit   *int
		signal string
	}{
		{"running.txt", PhaseRunning, 4211, 0, nil, ""},
		{"looping.txt", PhaseRestarting, 0, 6, &one, ""},
		{"killed.txt", PhaseFailed, 0, 2, nil, "SIGKILL"},
		{"config.txt", PhaseFailed, 0, 0, &conf, ""},
		{"loaded.txt", PhaseStopped, 0, 0, nil, ""},
		{"stopping.txt", PhaseRunning, 4211, 0, nil, ""}, // it has its process still
		{"", PhaseAbsent, 0, 0, nil, ""},
	} {
		t.Run("the answer "+c.sample, func(t *testing.T) {
			dir := t.TempDir()
			s, out := askLaunchd(t, c.sample, dir, "bun run src/daemon.ts REDIS_PASSWORD=hunter22 SHIPIT_RELEASE="+digest+" HOME=/Users/joel")
			require.Equal(t, c.phase, s.Phase)
			require.Equal(t, c.pid, s.PID)
			require.Equal(t, c.runs, s.Restarts)
			require.Equal(t, c.exit, s.Exit)
			require.Equal(t, c.signal, s.Signal)
			require.NotContains(t, out, "hunter22", "an environment stays on the machine")
			if c.pid > 0 {
				require.Equal(t, dir, s.Cwd)
				require.Equal(t, digest, s.Release)
				require.True(t, s.Serves())
			}
			require.Equal(t, "PID 99 (node old-gateway.js --token ***)", s.Foreign().String())
		})
	}
}

func TestADirectoryThatIsGoneIsNamedOnMacOS(t *testing.T) {
	s, _ := askLaunchd(t, "running.txt", "/opt/gateway/releases/"+strings.Repeat("1", 64), "")
	require.Contains(t, s.Notes(gatewayPlist()), "was deleted: /opt/gateway/releases/111")
}

func TestALaunchdServiceThatWasDisabledDoesNotStartWithTheMachine(t *testing.T) {
	out := "Disabled=yes\nLoaded=yes\nPrint=state = running\nPrint=pid = 812\nUnitFile=same\nAge=5\n"
	s := launchd{}.Parse(out)
	require.False(t, s.Enabled)
	require.Contains(t, s.Notes(gatewayPlist()), "does not start with the machine")
	require.True(t, launchd{}.Parse(strings.TrimPrefix(out, "Disabled=yes\n")).Enabled)
	require.Equal(t, []string{"launchctl", "enable", "system/" + gatewayPlist().Service}, launchd{}.Enable(gatewayPlist()).Argv)
}
