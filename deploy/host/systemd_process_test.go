package host

// What the process of a service really has, on a real systemd.

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/release"
)

func (l *booted) observe(t *testing.T, d service.Definition) release.Live {
	t.Helper()
	live, err := l.m.observe(t.Context(), roleOf(t, d), observing{})
	require.NoError(t, err)
	return live.Live
}

// againstDropIn writes a drop-in file, restarts the service, takes the file away
// again and hands it to Switch.
func againstDropIn(t *testing.T, l *booted, d service.Definition, line, process string) {
	t.Helper()
	key, _, _ := strings.Cut(line, "=")
	l.sh(t, `mkdir -p /etc/systemd/system/"$1".d
printf '[Service]\n%s\n' "$2" >/etc/systemd/system/"$1".d/override.conf
systemctl daemon-reload`, d.File, line)
	require.Contains(t, l.observe(t, d).Note, "override.conf changes "+key, "before a restart")
	l.sh(t, `systemctl restart "$1"`, d.File)
	live := l.observe(t, d)
	require.Contains(t, live.Note, "override.conf changes "+key)
	require.Contains(t, live.Note, process)
	findings, err := l.m.preflight(t.Context(), roleOf(t, d), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.CodeUnitOverridden, findings[0].Code)
	require.Equal(t, release.Refuses, findings[0].Severity)

	l.sh(t, `rm -r /etc/systemd/system/"$1".d; systemctl daemon-reload`, d.File)
	live = l.observe(t, d)
	require.NotContains(t, live.Note, "override.conf")
	require.Contains(t, live.Note, process, "the process has it still")
	require.NotContains(t, live.Note, "hunter23", "values may be secret")
	pid := l.pid(t, d)
	live, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.NotEqual(t, pid, l.pid(t, d), "it was restarted")
}

func dropInChanges(t *testing.T, l *booted) {
	d := served("dropin", 4040, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.observe(t, d).Note)
	require.NoError(t, l.Write(t.Context(), "/etc/foreign.env", "FOREIGN=hunter23\n", 0o600))
	againstDropIn(t, l, d, "Environment=FOREIGN=hunter23", "FOREIGN")
	againstDropIn(t, l, d, "Environment=PORT=4041", "PORT")
	againstDropIn(t, l, d, "EnvironmentFile=/etc/foreign.env", "FOREIGN")
	againstDropIn(t, l, d, "Environment=PATH=/foreign:/usr/bin:/bin", "PATH")
	againstDropIn(t, l, d, "UnsetEnvironment=SECRET", "SECRET")
	againstDropIn(t, l, d, "User=daemon", "runs as UID 1")
}

func editedAndPutBack(t *testing.T, l *booted) {
	d := served("putback", 4042, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	for edit, process := range map[string]string{
		`/^Type=/a Environment=FOREIGN=1`:                       "FOREIGN",
		`/^Type=/a User=daemon`:                                 "runs as UID 1",
		`s,^ExecStart=.*,ExecStart=/usr/local/bin/serve --old,`: "/usr/local/bin/serve --old",
		`/^Type=/a RootDirectory=/srv/jail`:                     "its mounts are its own",
	} {
		l.sh(t, `mkdir -p /srv/jail; cd /srv/jail; mkdir -p usr srv proc sys dev run etc tmp
cp -a /etc/passwd etc/ 2>/dev/null || true
mkdir -p "srv/shipit" usr/local/bin; cp /usr/local/bin/serve usr/local/bin/; cp -a "$3" srv/shipit/ 2>/dev/null || true
unit=/etc/systemd/system/$1; cp -p "$unit" /root/unit.kept
sed -i "$2" "$unit"; systemctl daemon-reload; systemctl restart "$1"
cp -p /root/unit.kept "$unit"; systemctl daemon-reload`, d.File, edit, d.Root)
		require.Contains(t, l.observe(t, d).Note, process, edit)
		live, err := l.m.activate(t.Context(), roleOf(t, d))
		require.NoError(t, err, edit)
		require.Empty(t, live.Note, edit)
		require.Empty(t, l.observe(t, d).Note, edit)
	}
}

// environmentFile holds parseEnvFile to systemd: what the process got is what is expected.
func environmentFile(t *testing.T, l *booted) {
	d := served("envfile", 4047, "v1")
	d.EnvFile = "/etc/odd.env"
	d.Content = strings.Replace(d.Content, "/etc/test.env", d.EnvFile, 1)
	odd := "A='$it is' B\nC=\"say \\\"hi\\\" \\$x \\n\"\nD=\"\"\nE=a\"b c\"\nexport F=1\nKEY=\"one\ntwo\"\nG=on\\\nward\n# note\nH=x \\\"\\\\ \nPORT=4047\n"
	require.NoError(t, l.Write(t.Context(), d.EnvFile, odd, 0o600))
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.observe(t, d).Note, "systemd reads the file in the same way")
	require.Contains(t, l.sh(t, `tr '\0' '\n' <"/proc/$1/environ"`, l.pid(t, d)), "KEY=one\ntwo")
	pid := l.pid(t, d)

	require.NoError(t, l.Write(t.Context(), d.EnvFile, odd+"# said again\n", 0o600))
	_, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Equal(t, pid, l.pid(t, d), "the same variables restart nothing")

	require.NoError(t, l.Write(t.Context(), d.EnvFile, strings.Replace(odd, "two", "hunter24", 1), 0o600))
	live := l.observe(t, d)
	require.Contains(t, live.Note, "KEY is not what /etc/odd.env says")
	require.NotContains(t, live.Note, "hunter24")
	live, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Empty(t, live.Note)
	require.NotEqual(t, pid, l.pid(t, d), "the service is started with them")

	require.NoError(t, l.Write(t.Context(), d.EnvFile, "PORT=4047\n", 0o600))
	require.Contains(t, l.observe(t, d).Note, "KEY is not of the release", "a variable that was taken out")
}

func limitSetByHand(t *testing.T, l *booted) {
	d := served("limit", 4043, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	l.sh(t, `systemctl set-property "$1" MemoryMax=512M`, d.File)
	live := l.observe(t, d)
	require.Empty(t, live.Note, "it changes nothing of what runs")
	require.Contains(t, live.Info, "MemoryMax", "but it is shown")
	findings, err := l.m.preflight(t.Context(), roleOf(t, d), needs{})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	require.Equal(t, release.Warns, findings[0].Severity)
	pid := l.pid(t, d)
	_, err = l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	require.Equal(t, pid, l.pid(t, d))

	// What holds for all services of the machine.
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/service.d/all.conf", "[Service]\nTimeoutStopFailureMode=abort\n", 0o644))
	l.sh(t, `systemctl set-environment GLOBAL=1; systemctl daemon-reload; systemctl restart "$1"`, d.File)
	live = l.observe(t, d)
	require.Empty(t, live.Note)
	require.Contains(t, live.Info, "drop-in /etc/systemd/system/service.d/all.conf changes TimeoutStopFailureMode")
	require.Contains(t, live.Info, "the service manager gives every service GLOBAL")
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/service.d/all.conf", "[Service]\nEnvironment=FOREIGN=1\n", 0o644))
	l.sh(t, `systemctl unset-environment GLOBAL; systemctl daemon-reload`)
	live = l.observe(t, d)
	require.Contains(t, live.Note, "drop-in /etc/systemd/system/service.d/all.conf changes Environment")
	require.Contains(t, live.Note, "GLOBAL is not of the release")
	l.sh(t, `rm -r /etc/systemd/system/service.d; systemctl daemon-reload`)
}

// replacesItself: a wrapper script that becomes the program by exec has other
// words than the definition.
func replacesItself(t *testing.T, l *booted) {
	d := served("wrapper", 4044, "v1")
	d.Command = []string{"/usr/local/bin/wrapper"}
	d.Content = strings.Replace(d.Content, "ExecStart=/usr/local/bin/serve", "ExecStart=/usr/local/bin/wrapper", 1)
	require.NoError(t, l.Write(t.Context(), "/usr/local/bin/wrapper", "#!/bin/sh\nexec /usr/local/bin/serve --wrapped\n", 0o755))
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	require.Empty(t, l.observe(t, d).Note)
	l.sh(t, `systemctl restart "$1"`, d.File)
	require.Eventually(t, func() bool { return l.listens(4044) }, time.Minute, 20*time.Millisecond, "the wrapper has become the program")
	require.Empty(t, l.observe(t, d).Note)
	require.NoError(t, l.Write(t.Context(), "/usr/local/bin/wrapper", "#!/bin/sh\nexec /usr/local/bin/serve --other\n", 0o755))
	l.sh(t, `systemctl restart "$1"`, d.File)
	require.Eventually(t, func() bool { return l.listens(4044) }, time.Minute, 20*time.Millisecond)
	require.Contains(t, l.observe(t, d).Note, "/usr/local/bin/serve --other")
}

func disabledByHand(t *testing.T, l *booted) {
	d := served("disabled", 4045, "v1")
	_, err := l.ship(t, d, "")
	require.NoError(t, err)
	pid := l.pid(t, d)
	for _, hand := range []string{`systemctl disable "$1"`, `systemctl disable "$1"; systemctl enable --runtime "$1"`} {
		l.sh(t, hand, d.File)
		require.Contains(t, l.observe(t, d).Note, "does not start with the machine", hand)
		live, err := l.m.activate(t.Context(), roleOf(t, d))
		require.NoError(t, err)
		require.Empty(t, live.Note)
		require.Empty(t, l.observe(t, d).Note)
		require.Equal(t, "enabled", l.sh(t, `systemctl is-enabled "$1"`, d.File))
		require.Equal(t, pid, l.pid(t, d), "nothing is restarted for it")
	}
}

func withoutLinger(t *testing.T, l *booted) {
	l.sh(t, `useradd --create-home --shell /bin/sh guest
install -d -o guest -g guest -m 700 /home/guest/.ssh
install -o guest -g guest -m 600 /root/.ssh/authorized_keys /home/guest/.ssh/authorized_keys`)
	h := l.config()
	h.Address = "guest@" + l.IP
	m, err := connect(t.Context(), h, l.options(t))
	require.NoError(t, err)
	defer m.Close()
	d := served("guest", 4046, "v1")
	d.Domain, d.EnvFile, d.Root = "user", "", "/home/guest/app"
	d.Workdir = d.ReleaseDir() + "/app"
	findings, err := m.preflight(t.Context(), roleOf(t, d), needs{})
	require.NoError(t, err)
	var codes []release.Code
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	require.Contains(t, codes, release.CodeLingerMissing)
	live, err := m.observe(t.Context(), roleOf(t, d), observing{})
	require.NoError(t, err)
	require.Contains(t, live.Note, "ends with the last login of guest")
}

func secondCopy(t *testing.T, l *booted) {
	d := served("copied", 4048, "v1")
	old := d.Workdir
	d.Workdir = d.ReleaseDir() + "/app/packages/worker"
	d.Content = strings.Replace(d.Content, old, d.Workdir, 1)
	require.NoError(t, l.m.prepared(t.Context(), roleOf(t, d), contentOf(layerOf(t, hosttest.File("app/packages/worker/version", "v1")))))
	_, err := l.m.activate(t.Context(), roleOf(t, d))
	require.NoError(t, err)
	other := served("copiedtoo", 4049, "v1")
	other.Root, other.Workdir = d.Root, d.Workdir
	other.Content = strings.Replace(other.Content, "/srv/shipit/copiedtoo/releases/"+d.Digest[7:]+"/app", d.Workdir, 1)
	_, err = l.m.activate(t.Context(), roleOf(t, other))
	require.NoError(t, err)
	look := func() string {
		live, err := l.m.observe(t.Context(), roleOf(t, d), observing{services: []string{d.Service}})
		require.NoError(t, err)
		require.False(t, live.pending, "a release would change nothing")
		return live.Note
	}
	l.sh(t, `systemd-run --quiet --unit=admin --working-directory="$1" sleep 1000
mkdir -p /root/Code/clone/packages/worker /root/Code/elsewhere
systemd-run --quiet --unit=elsewhere --service-type=exec --working-directory=/root/Code/elsewhere --setenv=PORT=4997 /usr/local/bin/serve
systemd-run --quiet --unit=contained --service-type=exec --property=PrivateTmp=yes --working-directory=/root/Code/clone/packages/worker --setenv=PORT=4996 /usr/local/bin/serve`, d.Workdir)
	require.Empty(t, look(), "a role of the app that the configuration names no more, somebody who looks around, a program of another folder, a container")
	for name, dir := range map[string]string{"release": d.Workdir, "clone": "/root/Code/clone/packages/worker"} {
		l.sh(t, `systemd-run --quiet --unit="$1" --service-type=exec --working-directory="$2" --setenv=PORT=4998 /usr/local/bin/serve`, name, dir)
		pid := l.sh(t, `systemctl show -p MainPID --value "$1"`, name)
		require.Contains(t, look(), "PID "+pid+" (/usr/local/bin/serve) runs beside the service, in "+dir)
		main := l.pid(t, d)
		_, err = l.m.activate(t.Context(), roleOf(t, d))
		require.NoError(t, err)
		require.Equal(t, main, l.pid(t, d), "nothing is restarted for it")
		l.sh(t, `systemctl stop "$1"`, name)
		require.Empty(t, look())
	}
	// The same program of another package of the same root is no copy of this role.
	l.sh(t, `chmod u+w "$1" "$1/app/packages"; mkdir "$1/app/packages/gateway"
systemd-run --quiet --unit=gatewaytoo --service-type=exec --working-directory="$1/app/packages/gateway" --setenv=PORT=4995 /usr/local/bin/serve`, d.ReleaseDir())
	live, err := l.m.observe(t.Context(), roleOf(t, d), observing{services: []string{d.Service, other.Service}})
	require.NoError(t, err)
	require.NotContains(t, live.Note, "beside the service")
	l.sh(t, `systemctl stop gatewaytoo`)
}
