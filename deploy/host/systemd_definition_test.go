package host

// Definitions, findings and users, on a real systemd.

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/manifests"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devhost"
)

func foundEarly(t *testing.T, l *booted) {
	d := served("early", 4014, "v1")
	d.EnvFile, d.User = "/etc/missing.env", "nobody-here"
	findings, err := l.m.preflight(t.Context(), roleOf(t, d), needs{runtime: map[string]string{"serve": "^1.3", "bun": "^1.3"}})
	require.NoError(t, err)
	codes := map[string]string{}
	for _, f := range findings {
		codes[string(f.Code)] = f.Message
	}
	require.Contains(t, codes, "EnvFileMissing")
	require.Contains(t, codes, "UserMissing")
	require.Contains(t, codes, "RuntimeMissing")
	require.NotContains(t, codes, "RuntimeVersion", "serve is 1.3.9")
	findings, err = l.m.preflight(t.Context(), roleOf(t, d), needs{runtime: map[string]string{"serve": "^2"}})
	require.NoError(t, err)
	require.Contains(t, findings[len(findings)-1].Message, "/usr/local/bin/serve is 1.3.9, the role needs ^2")
	require.Empty(t, l.sh(t, `ls -d "$1" 2>/dev/null || true`, d.Root), "nothing was made")

	d.Kind, d.File = "launchd", "early.plist"
	findings, err = l.m.preflight(t.Context(), roleOf(t, d), needs{})
	require.NoError(t, err)
	require.Equal(t, release.CodeServiceManager, findings[0].Code)
}

// killedBetween: the file on the disk is the new one, the process is of the old
// one, and both are of one release. Nothing but the marker tells.
func killedBetween(t *testing.T, l *booted) {
	old := served("between", 4015, "v1")
	_, err := l.ship(t, old, "")
	require.NoError(t, err)
	next := served("between", 4015, "v1", "Environment=FLAG=on")
	next.Env["FLAG"] = "on"
	_, err = l.m.Change(t.Context(), write(next, "install"), l.m.installing(next, service.State{}))
	require.NoError(t, err)
	require.NoError(t, l.m.Each(t.Context(), write(next, "reload"), l.m.manager(next).Reload(next)))
	pid := l.pid(t, old)
	live, err := l.m.activate(t.Context(), roleOf(t, next))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.NotEqual(t, pid, l.pid(t, next))
	require.Contains(t, l.sh(t, `tr '\0' '\n' <"/proc/$1/environ"`, l.pid(t, next)), "FLAG=on")
}

// renderedUnit holds this package to manifests, which renders what it runs.
func renderedUnit(t *testing.T, l *booted) {
	odd := `100% "$HOME" it's \ done`
	cfg := config.Config{
		App:    "sample",
		Images: map[string]config.Image{"worker": {Repository: "registry.test/worker", Package: "packages/worker", Entrypoint: []string{"serve", "$HOME", "%n"}}},
		Roles: config.Roles{{
			Name: "rendered", Image: "worker", Port: 4020, Env: map[string]string{"PORT": "4020", "ODD": odd},
			Host: &config.Host{Manager: "systemd", Service: "test.rendered", Root: "/srv/shipit/rendered", EnvFile: "/etc/test.env", User: "daemon"},
		}},
	}
	rel, err := manifests.Complete(release.Release{App: "sample", Roles: []release.Role{{Name: "rendered", Target: release.TargetHost, Image: "worker",
		Repository: "registry.test/worker", Digest: served("rendered", 0, "v1").Digest}}}, cfg, nil)
	require.NoError(t, err)
	role := rel.Roles[0]
	require.NoError(t, l.m.prepared(t.Context(), role, contentOf(layerOf(t, hosttest.File("app/packages/worker/version", "rendered")))))
	live, err := l.m.activate(t.Context(), role)
	require.NoError(t, err)
	require.Equal(t, role.Digest, live.Digest())
	require.Empty(t, live.Note)
	require.Contains(t, l.ask(t, 4020), "rendered")
	pid := l.sh(t, `systemctl show -p MainPID --value test.rendered`)
	require.Contains(t, l.sh(t, `tr '\0' '\n' <"/proc/$1/environ"`, pid), "ODD="+odd)
	require.Equal(t, "serve\n$HOME\n%n", strings.TrimPrefix(l.sh(t, `tr '\0' '\n' <"/proc/$1/cmdline"`, pid), "/usr/local/bin/"))
	_, err = l.m.activate(t.Context(), role)
	require.NoError(t, err)
	require.Equal(t, pid, l.sh(t, `systemctl show -p MainPID --value test.rendered`))
}

// userDomain is a service of a user without rights, in the user's own manager.
func userDomain(t *testing.T, l *booted) {
	l.sh(t, `useradd --create-home --shell /bin/sh joel
install -d -o joel -g joel -m 700 /home/joel/.ssh
install -o joel -g joel -m 600 /root/.ssh/authorized_keys /home/joel/.ssh/authorized_keys
loginctl enable-linger joel`)
	h := l.config()
	h.Address = "joel@" + l.IP
	m, err := connect(t.Context(), h, l.options(t))
	require.NoError(t, err)
	defer m.Close()

	system := served("user", 4021, "v1")
	findings, err := m.preflight(t.Context(), roleOf(t, system), needs{})
	require.NoError(t, err)
	require.Equal(t, release.CodeHostPermission, findings[0].Code, "the system domain is not joel's")

	for _, version := range []string{"v1", "v2"} {
		d := served("user", 4021, version)
		d.Domain, d.EnvFile = "user", ""
		d.Root = "/home/joel/app"
		old := d.Workdir
		d.Workdir = d.ReleaseDir() + "/app"
		d.Content = strings.NewReplacer(old, d.Workdir, "multi-user.target", "default.target", "EnvironmentFile=-/etc/test.env\n", "").Replace(d.Content)
		require.Eventually(t, func() bool {
			findings, err := m.preflight(t.Context(), roleOf(t, d), needs{})
			return err == nil && len(findings) == 0
		}, time.Minute, 100*time.Millisecond, "joel's manager comes up")
		require.NoError(t, m.prepared(t.Context(), roleOf(t, d), contentOf(layerOf(t, hosttest.File("app/version", version)))))
		live, err := m.activate(t.Context(), roleOf(t, d))
		require.NoError(t, err)
		require.Equal(t, d.Digest, live.Digest())
		require.Empty(t, live.Note)
		require.Contains(t, l.ask(t, 4021), version)
	}
}

// target serves the role "present" on the booted machine.
func (l *booted) target(t *testing.T, service string) *Target {
	t.Helper()
	h := l.config()
	h.Service = service
	target, err := Open(t.Context(), config.Config{App: "sample", Path: "shipit.yaml", Roles: config.Roles{{Name: "present", Host: &h}}}, l.options(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	return target
}

func droppedRole(t *testing.T, l *booted) {
	d := served("dropped", 4070, "v1")
	d.Address = l.Address
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	target := l.target(t, "test.present")
	seen, err := target.Compare(t.Context(), deploy.Step{Role: roleOf(t, d)})
	require.NoError(t, err)
	require.True(t, seen.Present)
	require.Equal(t, d.Digest, seen.Live.Digest())
	require.NoError(t, target.Remove(t.Context(), roleOf(t, d), release.Release{}))
	seen, err = target.Compare(t.Context(), deploy.Step{Role: roleOf(t, d)})
	require.NoError(t, err)
	require.False(t, seen.Present, "nothing of it is left")
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, d.File))
}

func renamedService(t *testing.T, l *booted) {
	before, after := served("present", 4071, "v1"), served("present", 4072, "v1")
	after.Service, after.File = "test.renamed", "test.renamed.service"
	for _, d := range []service.Definition{before, after} {
		_, err := l.ship(t, d, "")
		require.NoError(t, err)
	}
	target := l.target(t, after.Service)
	keep := release.Release{Roles: []release.Role{roleOf(t, after)}}
	require.NoError(t, target.Remove(t.Context(), roleOf(t, after), keep))
	require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, after.File), "it is the service of the release")
	require.NoError(t, target.Remove(t.Context(), roleOf(t, before), keep))
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, before.File))
	require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, after.File))
	require.Equal(t, after.ReleaseDir(), l.sh(t, `readlink "$1"`, after.Link()), "the link is of the role")
}

func renamedOnOnePort(t *testing.T, l *booted) {
	old, next := served("newname", 4074, "v1"), served("newname", 4074, "v2")
	next.Service, next.File = "test.newer", "test.newer.service"
	_, err := l.ship(t, old, "")
	require.NoError(t, err)
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, next), contentOf(layerOf(t, hosttest.File("app/mode", "crash")))))
	_, err = l.m.activate(t.Context(), roleOf(t, next), old.Service)
	require.Equal(t, release.CodePortTaken, failureOf(t, err).Code, "it is the service of another role")
	findings, err := l.m.preflight(t.Context(), roleOf(t, next), needs{})
	require.NoError(t, err)
	require.Empty(t, findings)

	_, err = l.m.activate(t.Context(), roleOf(t, next))
	require.Equal(t, release.CodeCrashLoop, failureOf(t, err).Code)
	live, err := l.m.activate(t.Context(), roleOf(t, old))
	require.NoError(t, err, "the old one is put back")
	require.Equal(t, old.Digest, live.Digest())

	third := served("newname", 4074, "v3")
	third.Service, third.File = next.Service, next.File
	live, err = l.ship(t, third, "")
	require.NoError(t, err)
	require.Equal(t, third.Digest, live.Digest())
	live, err = l.m.activate(t.Context(), roleOf(t, old))
	require.NoError(t, err)
	require.Equal(t, old.Digest, live.Digest(), "and back again")
}

func movedRole(t *testing.T, l *booted) {
	other, err := devhost.Up(t.Context(), devhost.Options{Progress: func(s string) { t.Log(s) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Down()) })
	// One key opens both machines, and both are known.
	key, err := other.Exec(t.Context(), "cat", "/root/.ssh/authorized_keys")
	require.NoError(t, err)
	l.sh(t, `printf '%s\n' "$1" >>/root/.ssh/authorized_keys`, key)
	known := filepath.Join(t.TempDir(), "known_hosts")
	var lines string
	for _, file := range []string{l.KnownHosts, other.KnownHosts} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		lines += string(text)
	}
	require.NoError(t, writeFile(known, lines))

	old := served("moved", 4075, "v1")
	old.Address = l.Address
	_, err = l.ship(t, old, "")
	require.NoError(t, err)
	open := func(address string) *Target {
		h := config.Host{Address: address, Key: other.Key, KnownHosts: known, Service: old.Service, Root: old.Root}
		target, err := Open(t.Context(), config.Config{App: "sample", Path: "shipit.yaml", Roles: config.Roles{{Name: "moved", Host: &h}}}, l.options(t))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, target.Close()) })
		return target
	}
	again := old
	again.Address = l.Address + ":22"
	keep := func(d service.Definition) release.Release {
		return release.Release{Roles: []release.Role{roleOf(t, d)}}
	}
	require.NoError(t, open(again.Address).Remove(t.Context(), roleOf(t, old), keep(again)))
	require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, old.File), "it is one machine by two names")

	moved := old
	moved.Address = other.Address
	target := open(moved.Address)
	seen, err := target.Compare(t.Context(), deploy.Step{Role: roleOf(t, old)})
	require.NoError(t, err)
	require.Equal(t, old.Digest, seen.Live.Digest(), "it is where its record says")
	require.NoError(t, target.Remove(t.Context(), roleOf(t, old), keep(moved)))
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, old.File))
}

// lastRole is a role of a machine that no role of the configuration runs on any more:
// the agent's key and the user's known_hosts let it be reached.
func lastRole(t *testing.T, l *booted) {
	d := served("last", 4076, "v1")
	d.Address = l.Address
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	target, err := Open(t.Context(), config.Config{App: "sample", Path: "shipit.yaml"}, l.options(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(home, "nobody"))
	known, err := os.ReadFile(l.KnownHosts)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	require.NoError(t, writeFile(filepath.Join(home, ".ssh/known_hosts"), string(known)))
	err = target.Remove(t.Context(), roleOf(t, d), release.Release{})
	var auth *machine.AuthError
	require.ErrorAs(t, err, &auth)
	require.ErrorContains(t, err, "ssh-add", "the record of the next release says what to do")

	key, err := os.ReadFile(l.Key)
	require.NoError(t, err)
	private, err := ssh.ParseRawPrivateKey(key)
	require.NoError(t, err)
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(home, "agent")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	require.NoError(t, target.Remove(t.Context(), roleOf(t, d), release.Release{}))
	require.Equal(t, "not-found", l.sh(t, `systemctl show -p LoadState --value "$1"`, d.File))
}
