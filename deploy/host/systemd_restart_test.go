package host

// Services that do not stay up, and units that were there before, on a real systemd.

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

func diesInStableTime(t *testing.T, l *booted) {
	good, dying := served("dying", 4060, "v1"), served("dying", 4060, "v2")
	_, err := l.ship(t, good, "")
	require.NoError(t, err)
	dying.Stable = 60_000
	began := time.Now()
	go func() { // it is ready well before it dies, however busy the machine is
		for answered := ""; !strings.HasPrefix(answered, strings.TrimLeft(dying.Digest[7:], "0")) && t.Context().Err() == nil; {
			time.Sleep(20 * time.Millisecond)
			answered, _ = l.answer(t.Context(), dying.Port)
		}
		time.Sleep(2 * time.Second)
		_, _ = l.Exec(t.Context(), "touch", "/run/serve.die")
	}()
	live, err := l.ship(t, dying, "dying")
	l.sh(t, `rm -f /run/serve.die`)
	f := failureOf(t, err)
	require.Contains(t, []release.Code{release.CodeCrashLoop, release.CodeServiceFailed}, f.Code)
	require.Contains(t, f.Log, "lost its database")
	require.Contains(t, f.Message, "after it was ready")
	require.Zero(t, live.Ready)
	require.Less(t, time.Since(began), 45*time.Second, "it is known when it dies, not when the time is over")

	began = time.Now()
	good.Stable = 1000
	_, err = l.m.activate(t.Context(), roleOf(t, good))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), time.Second)
	began = time.Now()
	good.Stable = 60_000
	_, err = l.m.activate(t.Context(), roleOf(t, good))
	require.NoError(t, err)
	require.Less(t, time.Since(began), 30*time.Second, "what was not restarted is not waited for")
}

func diesAgainAndAgain(t *testing.T, l *booted) {
	d := served("flapping", 4061, "v1")
	_, err := l.ship(t, d, "dying")
	require.NoError(t, err, "it is up for longer than its stable time")
	require.Empty(t, l.observe(t, d).Unsteady)
	l.sh(t, `touch /run/serve.die`)
	defer l.sh(t, `rm /run/serve.die`)
	up, down := 0, 0
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && (up < 3 || down < 3); {
		live, err := l.m.observe(t.Context(), roleOf(t, d), observing{})
		switch {
		case err == nil:
			require.Zero(t, up+down, "once it was restarted it stays no parity")
			continue
		case live.Ready == 0:
			down++
		default:
			up++
			require.Contains(t, live.Unsteady, "was restarted")
		}
		f := failureOf(t, err)
		require.Equal(t, release.CodeCrashLoop, f.Code)
		require.Contains(t, strings.Join(f.Log, "\n"), "lost its database")
		require.False(t, live.At.IsZero())
		require.NotEmpty(t, release.Compare(release.Release{Roles: []release.Role{roleOf(t, d)}}, map[string]release.Live{d.Role: live.Live}))
	}
	require.Positive(t, up)
	require.Positive(t, down)
}

// handMade installs a unit of somebody's own under the name of the service.
func handMade(t *testing.T, l *booted, d service.Definition, enable bool) string {
	t.Helper()
	unit := strings.Replace(d.Content, "WorkingDirectory="+d.Workdir, "WorkingDirectory=/srv", 1)
	unit = strings.Replace(unit, "SHIPIT_RELEASE="+d.Digest, "BY=hand", 1)
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/"+d.File, unit, 0o644))
	verb := "start"
	if enable {
		verb = "enable --now"
	}
	l.sh(t, `systemctl daemon-reload; systemctl `+verb+` "$1"`, d.File)
	return strings.TrimSpace(unit)
}

func handMadePutBack(t *testing.T, l *booted) {
	for name, enabled := range map[string]bool{"handon": true, "handoff": false} {
		d := served(name, 4062, "v1")
		unit := handMade(t, l, d, enabled)
		was := l.sh(t, `systemctl is-enabled "$1" || true`, d.File)
		_, err := l.ship(t, d, "crash")
		failureOf(t, err)
		require.NoError(t, l.m.remove(t.Context(), roleOf(t, d), false))
		require.Equal(t, unit, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
		require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, d.File))
		require.Equal(t, was, l.sh(t, `systemctl is-enabled "$1" || true`, d.File))
		require.Equal(t, "/srv", l.sh(t, `readlink "/proc/$1/cwd"`, l.pid(t, d)))
		require.NoError(t, l.m.remove(t.Context(), roleOf(t, d), false), "a second time")
		require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, d.File), "changes nothing")
		l.sh(t, `systemctl stop "$1"`, d.File)
	}
	// A unit that was there and did not run is not started.
	d := served("handdown", 4062, "v1")
	unit := handMade(t, l, d, false)
	l.sh(t, `systemctl stop "$1"`, d.File)
	_, err := l.ship(t, d, "crash")
	failureOf(t, err)
	require.NoError(t, l.m.remove(t.Context(), roleOf(t, d), false))
	require.Equal(t, unit, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
	require.Equal(t, "inactive", l.sh(t, `systemctl is-active "$1" || true`, d.File))
}

func handMadeLeftAlone(t *testing.T, l *booted) {
	d := served("handkept", 4063, "v1")
	unit := handMade(t, l, d, true)
	pid := l.pid(t, d)
	require.NoError(t, l.m.remove(t.Context(), roleOf(t, d), false), "a role whose switch never began")
	require.Equal(t, unit, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
	require.Equal(t, pid, l.pid(t, d))
	require.Equal(t, "enabled", l.sh(t, `systemctl is-enabled "$1"`, d.File))
}
