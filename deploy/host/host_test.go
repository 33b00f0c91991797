package host

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// hostile are words that a careless command line would run, split or lose.
func hostile() []string {
	return []string{
		"plain", "two words", "", "it's", `"quoted"`, "$(touch pwned)", "`touch pwned`", "$HOME", "a;b|c&d>e<f", "*", "~", "!!",
		`back\slash`, "-rf", "tab\there", "line\nbreak", "ünï→", `'\''`, "#no comment", "{a,b}",
	}
}

func TestEveryWordReachesTheProgramAsItIs(t *testing.T) {
	argv := append([]string{"printf", `%s\0`}, hostile()...)
	for _, shell := range []string{"sh", "bash"} {
		t.Run("through the login shell "+shell, func(t *testing.T) {
			cmd := exec.Command(shell, "-c", command{Argv: argv}.line())
			cmd.Dir = t.TempDir()
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, strings.Join(hostile(), "\x00")+"\x00", string(out))
			require.NoFileExists(t, cmd.Dir+"/pwned")
		})
	}
	t.Run("as an argument of a script", func(t *testing.T) {
		cmd := exec.Command("sh", "-c", script(`printf '%s\0' "$@"`, hostile()...).line())
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, strings.Join(hostile(), "\x00")+"\x00", string(out))
	})
}

func TestAnAddressIsReadStrictly(t *testing.T) {
	for _, c := range []struct{ address, user, addr string }{
		{"joel@mac.local", "joel", "mac.local:22"},
		{"joel@mac.local:2222", "joel", "mac.local:2222"},
		{"root@[fd00::1]:22", "root", "[fd00::1]:22"},
		{"root@[fd00::1]", "root", "[fd00::1]:22"},
	} {
		user, addr, err := parseAddress(c.address)
		require.NoError(t, err)
		require.Equal(t, c.user, user)
		require.Equal(t, c.addr, addr)
	}
	for _, bad := range []string{"@host", "root@", "root@two words", "a@b'c"} {
		_, _, err := parseAddress(bad)
		require.Error(t, err, bad)
	}
}

func worker() definition {
	d := definition{release.ServiceDefinition{
		Kind: "systemd", App: "system-bus", Service: "com.joel.worker", Domain: "system", File: "com.joel.worker.service",
		Root: "/opt/system-bus", Digest: "sha256:" + strings.Repeat("a", 64), Port: 3111,
	}}
	d.Workdir = d.releaseDir() + "/packages/system-bus"
	return d
}

func TestADefinitionThatCommandsCannotRelyOnIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*definition){
		"another manager":                  func(d *definition) { d.Kind = "upstart" },
		"a service name with a slash":      func(d *definition) { d.Service = "../x" },
		"a service name that is an option": func(d *definition) { d.Service = "--now" },
		"a file name with a folder":        func(d *definition) { d.File = "../x.service" },
		"a relative root":                  func(d *definition) { d.Root = "opt" },
		"the root of everything":           func(d *definition) { d.Root = "/" },
		"a short digest":                   func(d *definition) { d.Digest = "sha256:abc" },
		"a workdir elsewhere":              func(d *definition) { d.Workdir = "/root/Code/system-bus-worker" },
		"a workdir that leads out":         func(d *definition) { d.Workdir = d.releaseDir() + "/../../x" },
		"no port at all":                   func(d *definition) { d.Port = 70000 },
	} {
		t.Run(name, func(t *testing.T) {
			d := worker()
			raw, err := json.Marshal(d)
			require.NoError(t, err)
			_, err = define(release.Role{Name: "host", Digest: d.Digest, Objects: []json.RawMessage{raw}})
			require.NoError(t, err)
			spoil(&d)
			raw, err = json.Marshal(d)
			require.NoError(t, err)
			_, err = define(release.Role{Name: "host", Digest: d.Digest, Objects: []json.RawMessage{raw}})
			require.Error(t, err)
		})
	}
	d := worker()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	_, err = define(release.Role{Name: "host", Digest: "sha256:" + strings.Repeat("b", 64), Objects: []json.RawMessage{raw}})
	require.ErrorContains(t, err, "is for sha256:aaa", "a definition of another release")
}

func TestSystemdIsToldInItsOwnWords(t *testing.T) {
	d, s := worker(), systemd{home: "/home/joel"}
	require.Equal(t, command{Argv: []string{"systemctl", "--system", "--no-pager", "--no-ask-password", "stop", "com.joel.worker.service"}, Tolerate: []int{5}}, s.stop(d))
	require.Equal(t, []string{"systemctl", "--system", "--no-pager", "--no-ask-password", "kill", "--kill-who=all", "--signal=SIGKILL", "com.joel.worker.service"}, s.kill(d).Argv)
	require.Len(t, s.start(d, state{}), 3, "enable, reset-failed, start")
	require.Len(t, s.start(d, state{enabled: true}), 2)
	require.Equal(t, "systemctl start", s.start(d, state{})[2].program())
	words := s.log(d, state{invocation: "abc"})
	require.Len(t, words, 2, "sync, read")
	require.Contains(t, words[0].Argv, "--sync")
	require.Contains(t, words[1].Argv, "abc")
	require.Equal(t, "/etc/systemd/system/com.joel.worker.service", d.unitFile(s.home))
	d.Domain = "user"
	require.Equal(t, "/home/joel/.config/systemd/user/com.joel.worker.service", d.unitFile(s.home))
	require.Equal(t, "sh", s.stop(d).Argv[0], "the user's manager is found by XDG_RUNTIME_DIR")
	require.Contains(t, s.stop(d).Argv, "--user")
}

func TestSystemdIsUnderstood(t *testing.T) {
	three := 3
	for _, c := range []struct {
		name, out string
		want      state
	}{
		{"a service that runs", "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=812\nExecMainCode=0\nExecMainStatus=0\nNRestarts=0\nUnitFileState=enabled\nCwd=/opt/x\nEnv=sha256:aa\nUnitFile=same\nLink=/opt/y\nPrepared=yes\nReal=/opt/x\nListening=yes\nHolder=812 yes bun run src/serve.ts\n",
			state{phase: phaseUp, pid: 812, cwd: "/opt/x", env: "sha256:aa", unit: "same", link: "/opt/y", prepared: true, real: "/opt/x", enabled: true, listening: true, holders: []holder{{812, true, "", "bun run src/serve.ts"}}}},
		{"one that waits to be started again", "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nMainPID=0\nExecMainCode=1\nExecMainStatus=3\nNRestarts=4\nUnitFile=differs\n",
			state{phase: phaseRestarting, cause: "exit-code", exit: &three, restarts: 4, unit: "differs"}},
		{"one that was killed", "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=9\nNeedDaemonReload=yes\nDropInPaths=/a/b.conf /c/d.conf\nUnitFile=absent\nSwitching=yes\n",
			state{phase: phaseFailed, cause: "signal", signal: "SIGKILL", reload: true, dropIns: []string{"/a/b.conf", "/c/d.conf"}, unit: "absent", switching: true}},
		{"one that is not there", "LoadState=not-found\nActiveState=inactive\nSubState=dead\n", state{phase: phaseAbsent}},
		{"a unit with a fault", "LoadState=bad-setting\nActiveState=inactive\nSubState=dead\n", state{phase: phaseDown, rejected: true}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, systemd{}.parse(c.out)) })
	}
}

func TestWhatRunsIsNamedByItsDirectory(t *testing.T) {
	d := worker()
	real := d.releaseDir()
	good := state{phase: phaseUp, pid: 7, cwd: d.Workdir, env: d.Digest, unit: "same", link: real, real: real, prepared: true, enabled: true}
	require.True(t, good.settled(d))
	require.Empty(t, good.notes(d))
	for _, c := range []struct {
		name   string
		spoil  func(*state)
		digest string
		note   string
	}{
		{"a legacy clone", func(s *state) { s.cwd = "/root/Code/system-bus-worker" }, "path:/root/Code/system-bus-worker", "foreign directory: /root/Code/system-bus-worker"},
		{"a deleted directory", func(s *state) { s.cwd += " (deleted)" }, d.Digest, "was deleted: " + d.Workdir},
		{"another release", func(s *state) {
			s.cwd, s.env = "/opt/system-bus/releases/"+strings.Repeat("b", 64), "sha256:"+strings.Repeat("b", 64)
		}, "sha256:" + strings.Repeat("b", 64), ""},
		{"an environment of another release", func(s *state) { s.env = "sha256:other" }, d.Digest, `SHIPIT_RELEASE says "sha256:other"`},
		{"a unit changed by hand", func(s *state) { s.unit = "differs" }, d.Digest, "is not the one that was installed"},
		{"a foreign process on the port", func(s *state) {
			s.listening, s.holders = true, []holder{{9, false, "", "python3 -m http.server"}}
		}, d.Digest, "port 3111 is held by PID 9 (python3 -m http.server)"},
		{"a port held by an unseen process", func(s *state) { s.listening = true }, d.Digest, "may not see"},
		{"a switch that was cut off", func(s *state) { s.switching = true }, d.Digest, "a switch began"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.spoil(&s)
			require.False(t, s.settled(d))
			require.Equal(t, c.digest, s.liveDigest(d))
			if c.note != "" {
				require.Contains(t, s.notes(d), c.note)
			}
		})
	}
	moved := good
	moved.link = "/elsewhere"
	require.True(t, moved.settled(d), "the link is for people: what runs is right")
	require.Contains(t, moved.notes(d), `leads to "/elsewhere"`)
}

func TestARuntimeIsHeldAgainstItsRange(t *testing.T) {
	for _, c := range []struct{ wanted, said, message string }{
		{"^1.3", "1.3.9\n", ""},
		{">=1.3.9 <2", "bun 1.3.9 (cafe)\n", ""},
		{"^1.3", "1.2.21\n", "/usr/bin/bun is 1.2.21, the role needs ^1.3"},
		{"^1.3", "v22.11.0\n", "/usr/bin/bun is 22.11.0, the role needs ^1.3"},
		{"^1.3", "no idea\n", "holds no version"},
		{"newest", "1.3.9\n", "is no semver range"},
	} {
		f := versionFinding(worker(), "bun", c.wanted, "/usr/bin/bun\n"+c.said)
		if c.message == "" {
			require.Empty(t, f)
			continue
		}
		require.Equal(t, release.CodeRuntimeVersion, f.Code)
		require.Contains(t, f.Message, c.message)
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	hex := func(c string) string { return strings.Repeat(c, 64) }
	listing := "Release=" + hex("a") + "\nRelease=" + hex("b") + "\nRelease=notes\nRelease=" + hex("c") + "\nRelease=" + hex("d") + "\nRelease=" + hex("e") + "\nUsed=" + hex("d") + "\n"
	got := unneeded(keep{newest: 1, digests: []string{"sha256:" + hex("c")}}, listing)
	require.Equal(t, []string{"sha256:" + hex("b"), "sha256:" + hex("e")}, got, "a is the newest, c is recorded, d runs")
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

func TestAnUnknownHostKeySaysWhatToDo(t *testing.T) {
	unknown := &hostKeyError{Host: "mac.local:22", File: "/home/joel/.ssh/known_hosts", Fingerprint: "SHA256:abc"}
	require.Contains(t, unknown.Hint(), "ssh-keyscan -p 22 mac.local >> /home/joel/.ssh/known_hosts")
	unknown.Changed = true
	require.Contains(t, unknown.Hint(), "ssh-keygen -f /home/joel/.ssh/known_hosts -R 'mac.local'")
}

func TestDiskIsReadFromItsLastLine(t *testing.T) {
	require.Equal(t, disk{device: "/dev/disk3s5", mount: "/System/Volumes/My Data", free: 512},
		parseDisk("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/disk3s5 1024 512 512 50% /System/Volumes/My Data\n"))
	require.Equal(t, disk{}, parseDisk("nonsense"))
}

func TestFolderFindingsNameWhatIsWrong(t *testing.T) {
	d := worker()
	d.EnvFile, d.User = "/etc/worker.env", "worker"
	got := folderFindings(d, needs{bytes: 1 << 30}, "NoWrite=/opt\nDisk=tmpfs 2048 1024 1024 50% /opt\nNoUser=yes\nMode=-rw-r--r--\n")
	var codes []string
	for _, f := range got {
		codes = append(codes, string(f.Code))
	}
	require.Equal(t, []string{"HostPermission", "DiskSpace", "UserMissing", "EnvFileOpen"}, codes)
	require.Equal(t, release.Warns, got[3].Severity)
	require.Empty(t, folderFindings(d, needs{}, "Disk=tmpfs 204800 1024 203776 1% /opt\nMode=-rw-------\n"))
}

func TestConnectRefusesAnAddressThatIsNone(t *testing.T) {
	_, err := connect(t.Context(), config.Host{Address: "root@two words"}, Options{})
	require.ErrorContains(t, err, "is not [user@]host[:port]")
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
