package service

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/release"
)

func worker() Definition {
	d := Definition{release.ServiceDefinition{
		Kind: "systemd", App: "system-bus", Service: "com.joel.worker", Domain: "system", File: "com.joel.worker.service",
		Root: "/opt/system-bus", Digest: "sha256:" + strings.Repeat("a", 64), Port: 3111,
	}}
	d.Workdir = d.ReleaseDir() + "/packages/system-bus"
	return d
}

func TestADefinitionThatCommandsCannotRelyOnIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Definition){
		"another manager":                  func(d *Definition) { d.Kind = "upstart" },
		"a service name with a slash":      func(d *Definition) { d.Service = "../x" },
		"a service name that is an option": func(d *Definition) { d.Service = "--now" },
		"a file name with a folder":        func(d *Definition) { d.File = "../x.service" },
		"a relative root":                  func(d *Definition) { d.Root = "opt" },
		"the root of everything":           func(d *Definition) { d.Root = "/" },
		"a short digest":                   func(d *Definition) { d.Digest = "sha256:abc" },
		"a workdir elsewhere":              func(d *Definition) { d.Workdir = "/root/Code/system-bus-worker" },
		"a workdir that leads out":         func(d *Definition) { d.Workdir = d.ReleaseDir() + "/../../x" },
		"no port at all":                   func(d *Definition) { d.Port = 70000 },
	} {
		t.Run(name, func(t *testing.T) {
			d := worker()
			raw, err := json.Marshal(d)
			require.NoError(t, err)
			_, err = Define(release.Role{Name: "host", Digest: d.Digest, Objects: []json.RawMessage{raw}})
			require.NoError(t, err)
			spoil(&d)
			raw, err = json.Marshal(d)
			require.NoError(t, err)
			_, err = Define(release.Role{Name: "host", Digest: d.Digest, Objects: []json.RawMessage{raw}})
			require.Error(t, err)
		})
	}
	d := worker()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	_, err = Define(release.Role{Name: "host", Digest: "sha256:" + strings.Repeat("b", 64), Objects: []json.RawMessage{raw}})
	require.ErrorContains(t, err, "is for sha256:aaa", "a definition of another release")
}

func TestSystemdIsToldInItsOwnWords(t *testing.T) {
	d, s := worker(), systemd{home: "/home/joel"}
	require.Equal(t, machine.Command{Argv: []string{"systemctl", "--system", "--no-pager", "--no-ask-password", "stop", "com.joel.worker.service"}, AllowExitCodes: []int{5}}, s.Stop(d))
	require.Equal(t, []string{"systemctl", "--system", "--no-pager", "--no-ask-password", "kill", "--kill-who=all", "--signal=SIGKILL", "com.joel.worker.service"}, s.Kill(d).Argv)
	require.Len(t, s.Start(d, State{}), 3, "enable, reset-failed, start")
	require.Len(t, s.Start(d, State{Enabled: true}), 2)
	require.Contains(t, s.Start(d, State{})[2].Argv, "start")
	words := s.Log(d, State{Invocation: "abc"})
	require.Len(t, words, 2, "sync, read")
	require.Contains(t, words[0].Argv, "--sync")
	require.Contains(t, words[1].Argv, "abc")
	require.Equal(t, "/etc/systemd/system/com.joel.worker.service", d.UnitFile(s.home))
	d.Domain = "user"
	require.Equal(t, "/home/joel/.config/systemd/user/com.joel.worker.service", d.UnitFile(s.home))
	require.Equal(t, "sh", s.Stop(d).Argv[0], "the user's manager is found by XDG_RUNTIME_DIR")
	require.Contains(t, s.Stop(d).Argv, "--user")
}

func TestSystemdIsUnderstood(t *testing.T) {
	three := 3
	for _, c := range []struct {
		name, out string
		want      State
	}{
		{"a service that runs", "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=812\nExecMainCode=0\nExecMainStatus=0\nNRestarts=0\nUnitFileState=enabled\nCwd=/opt/x\nEnv=sha256:aa\nUnitFile=same\nLink=/opt/y\nUnpacked=yes\nReal=/opt/x\nListening=yes\nListener=812 yes bun run src/serve.ts\n",
			State{Phase: PhaseRunning, PID: 812, Cwd: "/opt/x", Release: "sha256:aa", Unit: "same", Link: "/opt/y", Unpacked: true, real: "/opt/x", Enabled: true, Listening: true, listeners: []Listener{{812, true, "", "bun run src/serve.ts"}}}},
		{"one that waits to be started again", "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nMainPID=0\nExecMainCode=1\nExecMainStatus=3\nNRestarts=4\nUnitFile=differs\n",
			State{Phase: PhaseRestarting, Cause: "exit-code", Exit: &three, Restarts: 4, Unit: "differs"}},
		{"one that was killed", "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=9\nNeedDaemonReload=yes\nDropInPaths=/a/b.conf /c/d.conf\nUnitFile=absent\nSwitching=yes\n",
			State{Phase: PhaseFailed, Cause: "signal", Signal: "SIGKILL", outdated: true, DropIns: []string{"/a/b.conf", "/c/d.conf"}, Unit: "absent", Switching: true}},
		{"one that is not there", "LoadState=not-found\nActiveState=inactive\nSubState=dead\n", State{Phase: PhaseAbsent}},
		{"a unit with a fault", "LoadState=bad-setting\nActiveState=inactive\nSubState=dead\n", State{Phase: PhaseStopped, Rejected: true}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, systemd{}.Parse(c.out)) })
	}
}

func TestWhatRunsIsNamedByItsDirectory(t *testing.T) {
	d := worker()
	real := d.ReleaseDir()
	good := State{Phase: PhaseRunning, PID: 7, Cwd: d.Workdir, Release: d.Digest, Unit: "same", Link: real, real: real, Unpacked: true, Enabled: true}
	require.True(t, good.RunsAsDefined(d))
	require.Empty(t, good.Notes(d))
	for _, c := range []struct {
		name   string
		spoil  func(*State)
		digest string
		note   string
	}{
		{"a legacy clone", func(s *State) { s.Cwd = "/root/Code/system-bus-worker" }, "path:/root/Code/system-bus-worker", "foreign directory: /root/Code/system-bus-worker"},
		{"a deleted directory", func(s *State) { s.Cwd += " (deleted)" }, d.Digest, "was deleted: " + d.Workdir},
		{"another release", func(s *State) {
			s.Cwd, s.Release = "/opt/system-bus/releases/"+strings.Repeat("b", 64), "sha256:"+strings.Repeat("b", 64)
		}, "sha256:" + strings.Repeat("b", 64), ""},
		{"an environment of another release", func(s *State) { s.Release = "sha256:other" }, d.Digest, `SHIPIT_RELEASE says "sha256:other"`},
		{"a unit changed by hand", func(s *State) { s.Unit = "differs" }, d.Digest, "is not the one that was installed"},
		{"a foreign process on the port", func(s *State) {
			s.Listening, s.listeners = true, []Listener{{9, false, "", "python3 -m http.server"}}
		}, d.Digest, "port 3111 is in use by PID 9 (python3 -m http.server)"},
		{"a port held by an unseen process", func(s *State) { s.Listening = true }, d.Digest, "may not see"},
		{"a switch that was cut off", func(s *State) { s.Switching = true }, d.Digest, "a switch began"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.spoil(&s)
			require.False(t, s.RunsAsDefined(d))
			require.Equal(t, c.digest, s.LiveDigest(d))
			if c.note != "" {
				require.Contains(t, s.Notes(d), c.note)
			}
		})
	}
	moved := good
	moved.Link = "/elsewhere"
	require.True(t, moved.RunsAsDefined(d), "the link is for people: what runs is right")
	require.Contains(t, moved.Notes(d), `leads to "/elsewhere"`)
}

func TestSecretsDoNotStandInMessages(t *testing.T) {
	for in, want := range map[string]string{
		"redis --password hunter22 -p 1":        "redis --password *** -p 1",
		"x API_KEY=abc DB=1":                    "x API_KEY=*** DB=1",
		"bun run src/serve.ts":                  "bun run src/serve.ts",
		"curl -H GH_TOKEN:abc":                  "curl -H GH_TOKEN:***",
		"":                                      "no command line",
		"worker --client-secret=s3 --port 3111": "worker --client-secret=*** --port 3111",
	} {
		require.Equal(t, want, shown(in))
	}
	require.Less(t, len(shown(strings.Repeat("long ", 100))), 200)
}

func TestAnEnvironmentFileIsReadAsSystemdReadsIt(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[string]string
	}{
		{"plain", "A=1\nB = two words  \n", map[string]string{"A": "1", "B": "two words"}},
		{"comments and what is no variable", "# A=1\n; B=2\nexport C=3\nD\n=4\n5E=5\nF=6", map[string]string{"F": "6"}},
		{"quotes", `A='$it is' B` + "\n" + `C="say \"hi\" \$x \n"` + "\nD=\"\"\nE=a\"b c\"", map[string]string{"A": "$it isB", "C": `say "hi" $x \n`, "D": "", "E": `a"b c"`}},
		{"several lines in quotes", "KEY=\"-----BEGIN\nabc\n-----END\"\nNEXT=1\n", map[string]string{"KEY": "-----BEGIN\nabc\n-----END", "NEXT": "1"}},
		{"a line that goes on", "A=one\\\ntwo\nB=3\n", map[string]string{"A": "onetwo", "B": "3"}},
		{"a comment that goes on does not", "# note \\\nA=1\n", map[string]string{"A": "1"}},
		{"an escaped character", `A=a\"b\\c\ ` + "\n", map[string]string{"A": `a"b\c `}},
		{"the last one wins", "A=1\nA=2\n", map[string]string{"A": "2"}},
		{"carriage returns", "A=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, parseEnvFile(c.text)) })
	}
}
