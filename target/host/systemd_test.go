package host

// These tests run on a real Debian with systemd, booted in a container and
// reached over SSH.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

// lab is the booted machine and a connection to it.
type lab struct {
	*devhost.Host
	m *Machine
}

func (l *lab) config() config.Host {
	return config.Host{Address: l.Address, Key: l.Key, KnownHosts: l.KnownHosts}
}

// options make a dead connection known within a second.
func (l *lab) options(t *testing.T) Options {
	began := time.Now()
	return Options{KeepAlive: 400 * time.Millisecond, Timeout: 3 * time.Second, Progress: func(e release.Event) {
		if t.Context().Err() == nil { // the connection may outlive the story that made it
			t.Logf("%6.2fs %s %s %s", time.Since(began).Seconds(), e.Phase, e.Mark, e.Message)
		}
	}}
}

func (l *lab) connect(t *testing.T) *Machine {
	t.Helper()
	m, err := Connect(t.Context(), l.config(), l.options(t))
	require.NoError(t, err)
	return m
}

func (l *lab) sh(t *testing.T, body string, args ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), append([]string{"sh", "-ec", body, "sh"}, args...)...)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

// service is a definition of the test program, serving version on port.
func service(name string, port int, version string, lines ...string) Definition {
	d := Definition{
		Kind: "systemd", App: "sample", Role: name, Service: "test." + name, Domain: "system", File: "test." + name + ".service",
		Root: "/srv/shipit/" + name, Port: port, Stop: 1000, EnvFile: "/etc/test.env",
		Digest: fmt.Sprintf("sha256:%064x", []byte(version)),
	}
	d.Workdir = d.releaseDir() + "/app"
	d.Content = "[Unit]\nDescription=a test\n[Service]\nType=exec\nExecStart=/usr/local/bin/serve\nWorkingDirectory=" + d.Workdir +
		"\nEnvironment=SHIPIT_RELEASE=" + d.Digest + fmt.Sprintf(" PORT=%d", port) +
		"\nEnvironmentFile=-/etc/test.env\nRestart=always\nRestartSec=1\nTimeoutStopSec=1\n" + strings.Join(lines, "\n") +
		"\n[Install]\nWantedBy=multi-user.target\n"
	return d
}

func (d Definition) role(t *testing.T) release.Role {
	role := roleOf(t, d)
	role.Name = d.Role
	return role
}

// ship prepares and switches to a version of the service.
func (l *lab) ship(t *testing.T, d Definition, mode string) (release.Live, error) {
	t.Helper()
	version := strings.TrimLeft(d.Digest[7:], "0")
	require.NoError(t, l.m.Prepare(t.Context(), d.role(t), contentOf(layerOf(t, file("app/version", version), file("app/mode", mode)))))
	return l.m.Switch(t.Context(), d.role(t))
}

func (l *lab) pid(t *testing.T, d Definition) string {
	return l.sh(t, `systemctl show -p MainPID --value "$1"`, d.File)
}

func failureOf(t *testing.T, err error) *release.Failure {
	t.Helper()
	var f *release.Failure
	require.ErrorAs(t, err, &f)
	return f
}

func TestOnARealSystemd(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine; -short leaves it out")
	}
	if why := devhost.Skip(); why != "" {
		t.Skip(why)
	}
	program := filepath.Join(t.TempDir(), "serve")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/serve").CombinedOutput()
	require.NoError(t, err, string(out))
	h, err := devhost.Up(t.Context(), devhost.Options{Files: map[string]string{"/usr/local/bin/serve": program}, Progress: func(s string) { t.Log(s) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Down()) })
	l := &lab{Host: h}
	require.NoError(t, l.Write(t.Context(), "/etc/test.env", "SECRET=hunter22\n", 0o600))
	l.m = l.connect(t)
	t.Cleanup(func() { require.NoError(t, l.m.Close()) })
	for _, story := range []struct {
		name string
		run  func(*testing.T, *lab)
	}{
		{"a release is switched to, observed, kept and rolled back", rollsForthAndBack},
		{"a link moved by hand is named, and set right without a restart", linkMoved},
		{"a unit edited to another directory is named and refused", unitEdited},
		{"a foreign process on the port is named, and nothing is touched", portTakenByAnother},
		{"a service that ignores SIGTERM is stopped in bounded time", deafService},
		{"a service that the manager would wait for without end is killed", endlessStop},
		{"a service that ends at its start is a failure with its last words", crashes},
		{"a directory that was deleted under a service is named", directoryDeleted},
		{"a full disk is named, and what was staged is gone", diskFull},
		{"a network cut while unpacking is noticed, and the next run goes on", cutWhileUnpacking},
		{"a network cut while switching is noticed, and the next run goes on", cutWhileSwitching},
		{"hostile names are names and nothing more", hostileNames},
		{"a first release can be withdrawn", withdrawn},
		{"findings are there before anything changes", foundEarly},
		{"a machine that is not the known one is refused", notTheKnownOne},
		{"one connection serves all roles of a machine", oneConnection},
	} {
		t.Run(story.name, func(t *testing.T) { story.run(t, l) })
	}
}

func rollsForthAndBack(t *testing.T, l *lab) {
	v1, v2 := service("roll", 4001, "v1"), service("roll", 4001, "v2")
	live, err := l.ship(t, v1, "")
	require.NoError(t, err)
	require.Equal(t, []string{v1.Digest}, live.Digests)
	require.Equal(t, 1, live.Ready)
	require.Empty(t, live.Note)
	require.Contains(t, l.ask(t, 4001), strings.TrimLeft(v1.Digest[7:], "0"))

	first := l.pid(t, v1)
	_, err = l.m.Switch(t.Context(), v1.role(t))
	require.NoError(t, err)
	require.Equal(t, first, l.pid(t, v1), "what runs is left alone")

	began := time.Now()
	live, err = l.ship(t, v2, "")
	require.NoError(t, err)
	t.Logf("prepare and switch took %s", time.Since(began))
	require.Equal(t, v2.Digest, live.Digest())

	began = time.Now()
	live, err = l.m.Switch(t.Context(), v1.role(t))
	require.NoError(t, err)
	took := time.Since(began)
	t.Logf("switching back took %s", took)
	require.Less(t, took, 2*time.Second, "the aim is 1s beyond the service's own stop and start, which are milliseconds here; a busy machine takes longer")
	require.Equal(t, v1.Digest, live.Digest())

	live, err = l.m.Observe(t.Context(), v1.role(t))
	require.NoError(t, err)
	require.Equal(t, v1.Digest, live.Digest())
	require.Empty(t, live.Note)
	require.Equal(t, "enabled", l.sh(t, `systemctl is-enabled "$1"`, v1.File))

	// v2 is what nothing needs; v1 is in use, though nobody asks to keep it and
	// its link is gone.
	l.sh(t, `rm "$1"`, v1.link())
	removed, err := l.m.Prune(t.Context(), Keep{Root: v1.Root})
	require.NoError(t, err)
	require.Equal(t, []string{v2.Digest}, removed)
}

func (l *lab) ask(t *testing.T, port int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	require.NoError(t, err)
	resp, err := l.m.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func linkMoved(t *testing.T, l *lab) {
	d := service("link", 4002, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	pid := l.pid(t, d)
	l.sh(t, `ln -sfn /srv/shipit/elsewhere "$1"`, d.link())
	live, err := l.m.Observe(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Equal(t, d.Digest, live.Digest(), "what runs is told by the process, not by the link")
	require.Contains(t, live.Note, "/srv/shipit/elsewhere")
	live, err = l.m.Switch(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.Equal(t, d.releaseDir(), l.sh(t, `readlink "$1"`, d.link()))
	require.Equal(t, pid, l.pid(t, d))
}

func unitEdited(t *testing.T, l *lab) {
	d := service("edit", 4003, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `mkdir -p /root/Code/system-bus-worker /etc/systemd/system/"$1".d
printf '[Service]\nWorkingDirectory=/root/Code/system-bus-worker\n' >/etc/systemd/system/"$1".d/override.conf
systemctl daemon-reload; systemctl restart "$1"`, d.File)
	live, err := l.m.Observe(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Equal(t, "path:/root/Code/system-bus-worker", live.Digest())
	require.Contains(t, live.Note, "foreign directory: /root/Code/system-bus-worker")
	require.Contains(t, live.Note, "override.conf changes WorkingDirectory")

	findings, err := l.m.Preflight(t.Context(), d.role(t), Needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, "UnitOverridden", findings[0].Code)

	_, err = l.m.Switch(t.Context(), d.role(t))
	f := failureOf(t, err)
	require.Equal(t, "ForeignDirectory", f.Code)
	require.Contains(t, f.Hint, "override.conf")

	l.sh(t, `systemctl revert "$1"`, d.File)
	live, err = l.m.Switch(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Equal(t, d.Digest, live.Digest())
}

func portTakenByAnother(t *testing.T, l *lab) {
	d := service("port", 4004, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `systemctl stop "$1"; systemd-run --quiet --unit=orphan --service-type=exec --setenv=PORT=4004 /usr/local/bin/serve --token abcdef`, d.File)
	require.Eventually(t, func() bool { return l.listens(4004) }, 5*time.Second, 20*time.Millisecond)
	orphan := l.sh(t, `systemctl show -p MainPID --value orphan.service`)

	next := service("port", 4004, "v2")
	findings, err := l.m.Preflight(t.Context(), next.role(t), Needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, "PortTaken", findings[0].Code)
	require.Contains(t, findings[0].Message, "PID "+orphan+" (/usr/local/bin/serve --token ***)")

	before := l.sh(t, `cat /etc/systemd/system/"$1"`, d.File)
	_, err = l.ship(t, next, "")
	require.Equal(t, "PortTaken", failureOf(t, err).Code)
	require.Equal(t, before, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
	live, err := l.m.Observe(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Empty(t, live.Digests)
	require.Contains(t, live.Note, "PID "+orphan)

	l.sh(t, `systemctl stop orphan.service`)
	_, err = l.m.Switch(t.Context(), next.role(t))
	require.NoError(t, err)
}

func (l *lab) listens(port int) bool {
	conn, err := l.m.via.dial(context.Background(), fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func deafService(t *testing.T, l *lab) {
	_, err := l.ship(t, service("deaf", 4005, "v1"), "deaf")
	require.NoError(t, err)
	began := time.Now()
	live, err := l.ship(t, service("deaf", 4005, "v2"), "")
	require.NoError(t, err)
	require.Equal(t, service("deaf", 4005, "v2").Digest, live.Digest())
	require.Less(t, time.Since(began), 6*time.Second, "1s to stop, and what a switch takes")
	require.GreaterOrEqual(t, time.Since(began), time.Second, "it was given its time")
}

func endlessStop(t *testing.T, l *lab) {
	endless := service("endless", 4006, "v1", "TimeoutStopSec=infinity")
	_, err := l.ship(t, endless, "deaf")
	require.NoError(t, err)
	next := service("endless", 4006, "v2", "TimeoutStopSec=infinity")
	began := time.Now()
	live, err := l.ship(t, next, "")
	require.NoError(t, err)
	require.Equal(t, next.Digest, live.Digest())
	require.Less(t, time.Since(began), 8*time.Second)
}

func crashes(t *testing.T, l *lab) {
	good := service("crash", 4007, "v1")
	_, err := l.ship(t, good, "")
	require.NoError(t, err)
	began := time.Now()
	_, err = l.ship(t, service("crash", 4007, "v2"), "crash")
	require.Less(t, time.Since(began), 8*time.Second)
	f := failureOf(t, err)
	require.Equal(t, "crash", f.Role)
	require.Equal(t, "CrashLoop", f.Code)
	require.Equal(t, 3, *f.ExitCode)
	require.Contains(t, f.Log, "Cannot find module @sample/clock")
	require.Contains(t, f.Log, "starting with ***", "the value of the environment file is masked")
	_, err = l.m.Observe(t.Context(), service("crash", 4007, "v2").role(t))
	require.Equal(t, 3, *failureOf(t, err).ExitCode)

	live, err := l.m.Switch(t.Context(), good.role(t))
	require.NoError(t, err, "the older release comes back")
	require.Equal(t, good.Digest, live.Digest())

	bad := service("crash", 4007, "v3")
	bad.Content = strings.Replace(bad.Content, "/usr/local/bin/serve", "no/such/program", 1)
	_, err = l.ship(t, bad, "")
	require.Equal(t, "UnitRejected", failureOf(t, err).Code)
}

func directoryDeleted(t *testing.T, l *lab) {
	d := service("gone", 4008, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `chmod -R u+w "$1"; rm -rf "$1"`, d.releaseDir())
	live, err := l.m.Observe(t.Context(), d.role(t))
	require.NoError(t, err)
	require.Contains(t, live.Note, "was deleted: "+d.Workdir)
	_, err = l.m.Switch(t.Context(), d.role(t))
	require.Equal(t, "NotPrepared", failureOf(t, err).Code)
	live, err = l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, live.Note, "unpacked anew and restarted")
}

func diskFull(t *testing.T, l *lab) {
	small, big := service("full", 4009, "v1"), service("full", 4009, "v2")
	l.sh(t, `mkdir -p "$1"; mount -t tmpfs -o size=8m tmpfs "$1"`, small.Root)
	_, err := l.ship(t, small, "")
	require.NoError(t, err)
	pid := l.pid(t, small)
	err = l.m.Prepare(t.Context(), big.role(t), contentOf(layerOf(t, file("app/big", strings.Repeat("x", 12<<20)))))
	var full *DiskFullError
	require.ErrorAs(t, err, &full)
	require.Equal(t, small.Root, full.Mount)
	require.Equal(t, "tmpfs", full.FileSystem)
	require.Greater(t, full.FreeKiB, int64(7<<10), "the staged part is gone")
	require.Empty(t, l.sh(t, `ls "$1/staging"`, small.Root))
	require.Equal(t, pid, l.pid(t, small))

	findings, err := l.m.Preflight(t.Context(), big.role(t), Needs{Bytes: 12 << 20})
	require.NoError(t, err)
	require.Equal(t, "DiskSpace", findings[0].Code, "and it is known before")
}

// stalling is a layer that stops in its middle until go on is closed.
func stalling(t *testing.T, goOn <-chan struct{}, reached chan<- struct{}) Layer {
	whole := layerOf(t, file("app/big", strings.Repeat("x", 4<<20)))
	open := whole.Open
	whole.Open = func(ctx context.Context) (io.ReadCloser, error) {
		in, err := open(ctx)
		return &stall{ReadCloser: in, at: 2 << 20, goOn: goOn, reached: reached}, err
	}
	return whole
}

type stall struct {
	io.ReadCloser
	at      int
	goOn    <-chan struct{}
	reached chan<- struct{}
}

func (s *stall) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 64<<10)])
	if s.at > 0 && s.at <= n {
		close(s.reached)
		<-s.goOn
	}
	s.at -= n
	return n, err
}

func cutWhileUnpacking(t *testing.T, l *lab) {
	d := service("cut", 4010, "v1")
	m := l.connect(t)
	defer m.Close()
	goOn, reached := make(chan struct{}), make(chan struct{})
	layer := stalling(t, goOn, reached)
	ended := make(chan error, 1)
	go func() { ended <- m.Prepare(t.Context(), d.role(t), contentOf(layer)) }()
	<-reached
	require.NoError(t, l.Cut(t.Context()))
	began := time.Now()
	close(goOn)
	var err error
	select {
	case err = <-ended:
	case <-time.After(10 * time.Second):
		require.Fail(t, "a dead connection was not noticed")
	}
	var lost *LostError
	require.ErrorAs(t, err, &lost)
	require.Less(t, time.Since(began), 5*time.Second, "two missed signs of life")
	require.NoError(t, l.Heal(t.Context()))
	require.NotEmpty(t, l.sh(t, `ls "$1/staging"`, d.Root), "what was half done is there")
	require.Empty(t, l.sh(t, `ls "$1/releases"`, d.Root), "and not in place")

	l.m = l.connect(t)
	_, err = l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.sh(t, `ls "$1/staging"`, d.Root))
}

func cutWhileSwitching(t *testing.T, l *lab) {
	v1, v2 := service("cutswitch", 4011, "v1", "TimeoutStopSec=5"), service("cutswitch", 4011, "v2", "TimeoutStopSec=5")
	v1.Stop, v2.Stop = 5000, 5000
	_, err := l.ship(t, v1, "slow")
	require.NoError(t, err)
	require.NoError(t, l.m.Prepare(t.Context(), v2.role(t), contentOf(layerOf(t, file("app/version", "v2")))))
	m := l.connect(t)
	defer m.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := m.Switch(t.Context(), v2.role(t))
		ended <- err
	}()
	require.Eventually(t, func() bool {
		out, err := l.Exec(t.Context(), "systemctl", "show", "-p", "ActiveState", "--value", v1.File)
		return err == nil && strings.TrimSpace(out) == "deactivating"
	}, 5*time.Second, 10*time.Millisecond)
	require.NoError(t, l.Cut(t.Context()))
	err = <-ended
	var lost *LostError
	require.ErrorAs(t, err, &lost)
	require.NoError(t, l.Heal(t.Context()))

	l.m = l.connect(t)
	live, err := l.m.Observe(t.Context(), v2.role(t))
	require.NoError(t, err)
	require.Contains(t, live.Note, "a switch began and did not end")
	// The next run may finish it, or take it back.
	live, err = l.m.Switch(t.Context(), v1.role(t))
	require.NoError(t, err)
	require.Equal(t, v1.Digest, live.Digest())
	live, err = l.m.Switch(t.Context(), v2.role(t))
	require.NoError(t, err)
	require.Equal(t, v2.Digest, live.Digest())
	require.Empty(t, live.Note)
}

func hostileNames(t *testing.T, l *lab) {
	d := inRoot(worker(), `/srv/shipit/a b'c"d$(touch pwned)`+"`touch pwned`"+`\e*;f`)
	d.Role = `host'$(touch /pwned)`
	d.Service, d.File = "hostile", "hostile.service"
	d.EnvFile, d.User = "/etc/no$(touch /pwned)", "no'body;touch /pwned"
	role := d.role(t)
	require.NoError(t, l.m.Prepare(t.Context(), role, contentOf(hostileTree(t))))
	require.NoError(t, l.m.Prepare(t.Context(), role, contentOf(hostileTree(t))), "and it is verified")
	require.Equal(t, "content of $(touch pwned)", l.sh(t, `cat "$1/tree/\$(touch pwned)"`, d.releaseDir()))
	findings, err := l.m.Preflight(t.Context(), role, Needs{Runtime: map[string]string{"$(touch /pwned)": "^1"}})
	require.NoError(t, err)
	var codes []string
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	require.Equal(t, []string{"UserMissing", "EnvFileMissing", "RuntimeMissing"}, codes)
	removed, err := l.m.Prune(t.Context(), Keep{Root: d.Root})
	require.NoError(t, err)
	require.Equal(t, []string{d.Digest}, removed)
	require.Empty(t, l.sh(t, `ls -d /pwned /root/pwned /srv/shipit/pwned 2>/dev/null || true`))
}

func withdrawn(t *testing.T, l *lab) {
	legacy := strings.Replace(service("legacy", 4012, "v0").Content, "WorkingDirectory="+service("legacy", 4012, "v0").Workdir, "WorkingDirectory=/srv", 1)
	d := service("legacy", 4012, "v1")
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/"+d.File, legacy, 0o644))
	l.sh(t, `systemctl daemon-reload; systemctl start "$1"`, d.File)
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	_, err = l.ship(t, service("legacy", 4012, "v2"), "")
	require.NoError(t, err)
	require.NoError(t, l.m.Withdraw(t.Context(), d.role(t)))
	require.Equal(t, strings.TrimSpace(legacy), l.sh(t, `cat /etc/systemd/system/"$1"`, d.File), "what stood there before is back")
	require.Equal(t, "/srv", l.sh(t, `readlink "/proc/$(systemctl show -p MainPID --value "$1")/cwd"`, d.File))

	fresh := service("fresh", 4013, "v1")
	_, err = l.ship(t, fresh, "crash")
	require.Error(t, err)
	require.NoError(t, l.m.Withdraw(t.Context(), fresh.role(t)))
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, fresh.File))
	require.Empty(t, l.sh(t, `find /etc/systemd/system -name "$1"`, fresh.File))
	require.NoError(t, l.m.Withdraw(t.Context(), fresh.role(t)), "a second time changes nothing")
}

func foundEarly(t *testing.T, l *lab) {
	d := service("early", 4014, "v1")
	d.EnvFile, d.User = "/etc/missing.env", "nobody-here"
	findings, err := l.m.Preflight(t.Context(), d.role(t), Needs{Runtime: map[string]string{"serve": "^1.3", "bun": "^1.3"}, Bytes: 1 << 50})
	require.NoError(t, err)
	codes := map[string]string{}
	for _, f := range findings {
		codes[f.Code] = f.Message
	}
	require.Contains(t, codes, "EnvFileMissing")
	require.Contains(t, codes, "UserMissing")
	require.Contains(t, codes, "DiskSpace")
	require.Contains(t, codes, "RuntimeMissing")
	require.NotContains(t, codes, "RuntimeVersion", "serve is 1.3.9")
	findings, err = l.m.Preflight(t.Context(), d.role(t), Needs{Runtime: map[string]string{"serve": "^2"}})
	require.NoError(t, err)
	require.Contains(t, findings[len(findings)-1].Message, "/usr/local/bin/serve is 1.3.9, the role needs ^2")
	require.Empty(t, l.sh(t, `ls -d "$1" 2>/dev/null || true`, d.Root), "nothing was made")

	d.Domain = "user"
	findings, err = l.m.Preflight(t.Context(), d.role(t), Needs{})
	require.NoError(t, err)
	require.Equal(t, "ServiceManager", findings[0].Code, "no user manager runs there")
}

func notTheKnownOne(t *testing.T, l *lab) {
	empty := filepath.Join(t.TempDir(), "known_hosts")
	h := l.config()
	h.KnownHosts = empty
	_, err := Connect(t.Context(), h, Options{})
	var key *HostKeyError
	require.ErrorAs(t, err, &key)
	require.False(t, key.Changed)
	require.Contains(t, key.Hint(), "ssh-keyscan -p 22 "+l.IP+" >> "+empty)

	other, err := devhost.NewKnownHosts(l.IP)
	require.NoError(t, err)
	require.NoError(t, writeFile(empty, other))
	_, err = Connect(t.Context(), h, Options{})
	require.ErrorAs(t, err, &key)
	require.True(t, key.Changed)

	h = l.config()
	h.Address = "nobody@" + l.IP
	_, err = Connect(t.Context(), h, Options{})
	var auth *AuthError
	require.ErrorAs(t, err, &auth)

	h = l.config()
	h.Address += ":9"
	_, err = Connect(t.Context(), h, Options{Timeout: 2 * time.Second})
	var unreachable *UnreachableError
	require.ErrorAs(t, err, &unreachable)
}

func oneConnection(t *testing.T, l *lab) {
	ms := NewMachines(l.options(t))
	a, err := ms.For(t.Context(), l.config())
	require.NoError(t, err)
	other := l.config()
	other.Service, other.Root = "another", "/srv/another"
	b, err := ms.For(t.Context(), other)
	require.NoError(t, err)
	require.Same(t, a, b)
	require.Equal(t, "linux/amd64", a.Platform())
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { return !a.via.alive() }, time.Second, 5*time.Millisecond)
	c, err := ms.For(t.Context(), other)
	require.NoError(t, err)
	require.NotSame(t, a, c, "a lost connection is made anew")
	require.NoError(t, ms.Close())
	_, err = c.exec(t.Context(), script("true"))
	var lost *LostError
	require.True(t, errors.As(err, &lost), "%v", err)
}
