package host

// These tests run on a real Debian with systemd, booted in a container and
// reached over SSH.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

// TestOnARealSystemd runs stories at the same time, each on a machine that it has for itself meanwhile.
func TestOnARealSystemd(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine; -short leaves it out")
	}
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	program := filepath.Join(t.TempDir(), "serve")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/serve")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // it also runs where there are no libraries
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	machines := make(chan *booted, 4)
	for range cap(machines) {
		machines <- boot(t, program)
	}
	t.Run("the last role of a machine is taken away, or it is said what lets us in", func(t *testing.T) {
		l := <-machines // it is not beside others: it changes the environment of this process
		defer func() { machines <- l }()
		lastRole(t, l)
	})
	for _, story := range []struct {
		name string
		run  func(*testing.T, *booted)
	}{
		{"a release is switched to, observed, kept and rolled back", rollsForthAndBack},
		{"a link moved by hand is named, and set right without a restart", linkMoved},
		{"a unit edited to another directory is named and refused", unitEdited},
		{"a foreign process on the port is named, and nothing is touched", portTakenByAnother},
		{"a port that nothing serves is no readiness", portNotServed},
		{"a process that outlives its service keeps the next from being started", outlived},
		{"a service that ignores SIGTERM is stopped in bounded time", deafService},
		{"a service that the manager would wait for without end is killed", endlessStop},
		{"a service that ends at its start is a failure with its last log lines", crashes},
		{"a service that was started again already is a failure with the last log lines of the start that ended", endsAgain},
		{"a service that dies after it was ready fails the release within its stable time", diesInStableTime},
		{"a service that dies again and again is no parity, up or down", diesAgainAndAgain},
		{"a first release that fails puts the unit back that was there", handMadePutBack},
		{"a unit that shipit did not install is not taken away", handMadeLeftAlone},
		{"a unit made by hand is put back if the first release fails, and rolled back to", adoptedAndPutBack},
		{"a unit made by hand is put back from its record, but for a secret in it", adoptedFromItsRecord},
		{"a unit made by hand that did not run is put back and not started", adoptedWhereItDidNotRun},
		{"what is started by hand is told, a second process refused, and the recorded unit put back", startsByHand},
		{"a directory that was deleted under a service is named", directoryDeleted},
		{"a run that was killed between unit and start is finished by the next", killedBetween},
		{"a write that was on its way when another run took over changes nothing", lateWrites},
		{"a full disk is named, and what was staged is gone", diskFull},
		{"a network cut while unpacking is noticed, and the next run goes on", cutWhileUnpacking},
		{"a network cut while switching is noticed, and the next run goes on", cutWhileSwitching},
		{"hostile names are names and nothing more", hostileNames},
		{"a first release can be withdrawn", withdrawn},
		{"the unit that manifests renders runs as it is", renderedUnit},
		{"a user without rights runs a service of its own", userDomain},
		{"what a drop-in file gives the process is named, also after the file is gone, until a restart", dropInChanges},
		{"a unit that was edited, restarted and put back is named by its process", editedAndPutBack},
		{"a limit that another hand set is shown and let be", limitSetByHand},
		{"a program that replaces itself is known again", replacesItself},
		{"an environment file that changed since the start is named, and the service restarted", environmentFile},
		{"nothing is removed through a mount", mountedInside},
		{"nothing is removed through a link or a device", linkedInside},
		{"content that was damaged under a service is put right by the switch, not before", damagedUnderService},
		{"content that was edited is seen by status", contentEdited},
		{"a second copy of the program is told, wherever it was started", secondCopy},
		{"a release that is unpacked already needs no space", noSpaceNeeded},
		{"a service that was disabled is named, and enabled without a restart", disabledByHand},
		{"a user whose manager ends with the login is refused before the first write", withoutLinger},
		{"findings are there before anything changes", foundEarly},
		{"a machine that is not the known one is refused", notTheKnownOne},
		{"a role that the configuration no longer names is taken away from where its record says", droppedRole},
		{"a service that got another name is taken away under the old one", renamedService},
		{"a service that got another name takes the port over from the old one, and gives it back", renamedOnOnePort},
		{"a role that moves to another machine is taken away from the old one, unless that is the same", movedRole},
		{"one connection serves all roles of a machine", oneConnection},
	} {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			l := <-machines
			t.Cleanup(func() { machines <- l }) // after what the story cleans up
			story.run(t, l)
		})
	}
}

// boot boots a machine that has the test program, and connects to it.
func boot(t *testing.T, program string) *booted {
	t.Helper()
	h, err := devhost.Up(t.Context(), devhost.Options{Files: map[string]string{"/usr/local/bin/serve": program}, Progress: func(s string) { t.Log(s) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Down()) })
	l := &booted{Host: h}
	require.NoError(t, l.Write(t.Context(), "/etc/test.env", "SECRET=hunter22\n", 0o600))
	l.m = l.connect(t)
	t.Cleanup(func() { require.NoError(t, l.m.Close()) })
	return l
}

func rollsForthAndBack(t *testing.T, l *booted) {
	v1, v2 := served("roll", 4001, "v1"), served("roll", 4001, "v2")
	live, err := l.ship(t, v1, "")
	require.NoError(t, err)
	require.Equal(t, []string{v1.Digest}, live.Digests)
	require.Equal(t, 1, live.Ready)
	require.Empty(t, live.Note)
	require.Contains(t, l.ask(t, 4001), strings.TrimLeft(v1.Digest[7:], "0"))

	first := l.pid(t, v1)
	_, err = l.m.activate(t.Context(), roleOf(t, v1))
	require.NoError(t, err)
	require.Equal(t, first, l.pid(t, v1), "what runs is left alone")

	began := time.Now()
	live, err = l.ship(t, v2, "")
	require.NoError(t, err)
	t.Logf("prepare and switch took %s", time.Since(began))
	require.Equal(t, v2.Digest, live.Digest())

	began = time.Now()
	live, err = l.m.activate(t.Context(), roleOf(t, v1))
	require.NoError(t, err)
	t.Logf("switching back took %s", time.Since(began))
	require.Equal(t, v1.Digest, live.Digest())

	live = l.observe(t, v1)
	require.Equal(t, v1.Digest, live.Digest())
	require.Empty(t, live.Note)
	require.Equal(t, "enabled", l.sh(t, `systemctl is-enabled "$1"`, v1.File))

	// v2 is what nothing needs; v1 is in use, though nobody asks to keep it and
	// its link is gone.
	l.sh(t, `rm "$1"`, v1.Link())
	removed, err := l.m.store(v1).Prune(t.Context(), content.Keep{})
	require.NoError(t, err)
	require.Equal(t, []string{v2.Digest}, removed)
}

func linkMoved(t *testing.T, l *booted) {
	d := served("link", 4002, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	pid := l.pid(t, d)
	l.sh(t, `ln -sfn /srv/shipit/elsewhere "$1"`, d.Link())
	live := l.observe(t, d)
	require.Equal(t, d.Digest, live.Digest(), "what runs is told by the process, not by the link")
	require.Contains(t, live.Note, "/srv/shipit/elsewhere")
	live, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.Equal(t, d.ReleaseDir(), l.sh(t, `readlink "$1"`, d.Link()))
	require.Equal(t, pid, l.pid(t, d))
}

func unitEdited(t *testing.T, l *booted) {
	d := served("edit", 4003, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `mkdir -p /root/Code/system-bus-worker /etc/systemd/system/"$1".d
printf '[Service]\nWorkingDirectory=/root/Code/system-bus-worker\n' >/etc/systemd/system/"$1".d/override.conf
systemctl daemon-reload; systemctl restart "$1"`, d.File)
	live := l.observe(t, d)
	require.Equal(t, "path:/root/Code/system-bus-worker", live.Digest())
	require.Contains(t, live.Note, "foreign directory: /root/Code/system-bus-worker")
	require.Contains(t, live.Note, "override.conf changes WorkingDirectory")

	findings, err := l.m.preflight(t.Context(), roleOf(t, d), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodeUnitOverridden, findings[0].Code)

	_, err = l.m.activate(t.Context(), roleOf(t, d))
	f := failureOf(t, err)
	require.Equal(t, release.CodeForeignDirectory, f.Code)
	require.Contains(t, f.Hint, "override.conf")

	l.sh(t, `systemctl revert "$1"`, d.File)
	live, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Equal(t, d.Digest, live.Digest())
}

func endsAgain(t *testing.T, l *booted) {
	d := served("brief", 4033, "v1", "RestartSec=0")
	_, err := l.ship(t, d, "brief")
	f := failureOf(t, err)
	require.Equal(t, release.CodeCrashLoop, f.Code)
	require.Contains(t, strings.Join(f.Log, "\n"), "Cannot find module @sample/clock")
}

func portNotServed(t *testing.T, l *booted) {
	late := served("late", 4031, "v1")
	_, err := l.ship(t, late, "late")
	require.NoError(t, err)
	require.True(t, l.listens(4031), "it is waited for")

	o := l.options(t)
	o.listen = 2 * time.Second
	m, err := connect(t.Context(), l.config(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	usual := l.m
	l.m = m
	defer func() { l.m = usual }()
	silent := served("silent", 4032, "v1")
	_, err = l.ship(t, silent, "silent")
	f := failureOf(t, err)
	require.Equal(t, release.CodePortNotServed, f.Code)
	require.Contains(t, f.Message, "port 4032 after 2s")
	require.Contains(t, strings.Join(f.Log, "\n"), "starting with", "its last log lines are there")
}

func portTakenByAnother(t *testing.T, l *booted) {
	d := served("port", 4004, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `systemctl stop "$1"; systemd-run --quiet --unit=orphan --service-type=exec --setenv=PORT=4004 /usr/local/bin/serve --token abcdef`, d.File)
	require.Eventually(t, func() bool { return l.listens(4004) }, time.Minute, 20*time.Millisecond)
	orphan := l.sh(t, `systemctl show -p MainPID --value orphan.service`)

	next := served("port", 4004, "v2")
	findings, err := l.m.preflight(t.Context(), roleOf(t, next), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodePortTaken, findings[0].Code)
	require.Contains(t, findings[0].Message, "PID "+orphan+" (/usr/local/bin/serve --token ***)")

	before := l.sh(t, `cat /etc/systemd/system/"$1"`, d.File)
	_, err = l.ship(t, next, "")
	require.Equal(t, release.CodePortTaken, failureOf(t, err).Code)
	require.Equal(t, before, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
	live := l.observe(t, d)
	require.Empty(t, live.Digests)
	require.Contains(t, live.Note, "PID "+orphan)

	l.sh(t, `systemctl stop orphan.service`)
	_, err = l.m.activate(t.Context(), roleOf(t, next))
	require.NoError(t, err)
}

// outlived: KillMode=process leaves the child of a stopped service, which goes
// on holding the port.
func outlived(t *testing.T, l *booted) {
	forking := func(version string) service.Definition {
		d := served("outlived", 4016, version, "KillMode=process")
		d.Command = []string{"/bin/sh", "-c", "/usr/local/bin/serve & wait"}
		d.Content = strings.Replace(d.Content, "ExecStart=/usr/local/bin/serve", `ExecStart=/bin/sh -c "/usr/local/bin/serve & wait"`, 1)
		return d
	}
	_, err := l.ship(t, forking("v1"), "")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.listens(4016) }, time.Minute, 20*time.Millisecond)
	_, err = l.ship(t, forking("v2"), "")
	f := failureOf(t, err)
	require.Equal(t, release.CodePortTaken, f.Code)
	require.Contains(t, f.Message, "(/usr/local/bin/serve)")
	require.Equal(t, "inactive", l.sh(t, `systemctl show -p ActiveState --value "$1"`, forking("v2").File), "nothing was started beside it")
	l.sh(t, `for p in /proc/[0-9]*; do if grep -q test.outlived "$p/cgroup" 2>/dev/null; then kill "${p#/proc/}"; fi; done`)
	require.Eventually(t, func() bool { return !l.listens(4016) }, time.Minute, 20*time.Millisecond)
	_, err = l.m.activate(t.Context(), roleOf(t, forking("v2")))
	require.NoError(t, err)
}

func deafService(t *testing.T, l *booted) {
	_, err := l.ship(t, served("deaf", 4005, "v1"), "deaf")
	require.NoError(t, err)
	began := time.Now()
	heard := *l
	said := make(chan string, 100)
	heard.m.progress = func(e release.Event) { said <- e.Message }
	live, err := heard.ship(t, served("deaf", 4005, "v2"), "")
	close(said)
	var messages []string
	for message := range said {
		messages = append(messages, message)
	}
	require.Contains(t, messages, "test.deaf did not end within 1s of SIGTERM and was killed")
	require.NoError(t, err)
	require.Equal(t, served("deaf", 4005, "v2").Digest, live.Digest())
	require.Less(t, time.Since(began), 30*time.Second, "1s to stop, and what a switch takes")
	require.GreaterOrEqual(t, time.Since(began), time.Second, "it was given its time")
}

func endlessStop(t *testing.T, l *booted) {
	endless := served("endless", 4006, "v1", "TimeoutStopSec=infinity")
	_, err := l.ship(t, endless, "deaf")
	require.NoError(t, err)
	next := served("endless", 4006, "v2", "TimeoutStopSec=infinity")
	began := time.Now()
	live, err := l.ship(t, next, "")
	require.NoError(t, err)
	require.Equal(t, next.Digest, live.Digest())
	require.Less(t, time.Since(began), 30*time.Second)
}

func crashes(t *testing.T, l *booted) {
	good := served("crash", 4007, "v1")
	_, err := l.ship(t, good, "")
	require.NoError(t, err)
	began := time.Now()
	broken := served("crash", 4007, "v2", "RestartSec=60") // it is looked at between two starts
	_, err = l.ship(t, broken, "crash")
	require.Less(t, time.Since(began), 30*time.Second)
	f := failureOf(t, err)
	require.Equal(t, "crash", f.Role)
	require.Equal(t, release.CodeCrashLoop, f.Code)
	require.Equal(t, 3, *f.ExitCode)
	require.Contains(t, f.Log, "Cannot find module @sample/clock")
	require.Contains(t, f.Log, "starting with [redacted]", "the value of the environment file is masked")
	_, err = l.m.observe(t.Context(), roleOf(t, broken), observing{})
	require.Equal(t, 3, *failureOf(t, err).ExitCode)

	live, err := l.m.activate(t.Context(), roleOf(t, good))
	require.NoError(t, err, "the older release comes back")
	require.Equal(t, good.Digest, live.Digest())

	bad := served("crash", 4007, "v3")
	bad.Content = strings.Replace(bad.Content, "/usr/local/bin/serve", "no/such/program", 1)
	_, err = l.ship(t, bad, "")
	require.Equal(t, release.CodeUnitRejected, failureOf(t, err).Code)
}

func directoryDeleted(t *testing.T, l *booted) {
	d := served("gone", 4008, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `chmod -R u+w "$1"; rm -rf "$1"`, d.ReleaseDir())
	live := l.observe(t, d)
	require.Contains(t, live.Note, "was deleted: "+d.Workdir)
	_, err = l.m.activate(t.Context(), roleOf(t, d))
	require.Equal(t, release.CodeNotPrepared, failureOf(t, err).Code)
	live, err = l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, live.Note, "unpacked again and restarted")
}

func withdrawn(t *testing.T, l *booted) {
	legacy := strings.Replace(served("legacy", 4012, "v0").Content, "WorkingDirectory="+served("legacy", 4012, "v0").Workdir, "WorkingDirectory=/srv", 1)
	d := served("legacy", 4012, "v1")
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/"+d.File, legacy, 0o644))
	l.sh(t, `systemctl daemon-reload; systemctl start "$1"`, d.File)
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	_, err = l.ship(t, served("legacy", 4012, "v2"), "")
	require.NoError(t, err)
	require.NoError(t, l.m.remove(t.Context(), roleOf(t, d), false))
	require.Equal(t, strings.TrimSpace(legacy), l.sh(t, `cat /etc/systemd/system/"$1"`, d.File), "what stood there before is back")
	require.Equal(t, "/srv", l.sh(t, `readlink "/proc/$(systemctl show -p MainPID --value "$1")/cwd"`, d.File))

	fresh := served("fresh", 4013, "v1")
	_, err = l.ship(t, fresh, "crash")
	require.Error(t, err)
	require.NoError(t, l.m.remove(t.Context(), roleOf(t, fresh), false))
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, fresh.File))
	require.Empty(t, l.sh(t, `find /etc/systemd/system -name "$1"`, fresh.File))
	require.NoError(t, l.m.remove(t.Context(), roleOf(t, fresh), false), "a second time changes nothing")
}
