package host

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/internal/hosttest"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// app is an engine whose one role is a service of the machine.
type app struct {
	deploy.Engine
	t     *testing.T
	store ledger.Store
}

// engine is the engine of a role. What is released of an image crashes if its version
// begins with "broken".
func (l *booted) engine(t *testing.T, role string) *app {
	t.Helper()
	h := l.config()
	h.Service, h.Root = "test."+role, "/srv/shipit/"+role
	cfg := config.Config{App: "sample", Path: "shipit.yaml", Roles: config.Roles{{Name: role, Host: &h}}}
	o := l.options(t)
	o.ImageFor = func(_ context.Context, ref, _ string) (v1.Image, error) {
		mode := ""
		if strings.Contains(ref, fmt.Sprintf("%x", "broken")) {
			mode = "crash"
		}
		return imageOf(t, layerOf(t, hosttest.File("app/version", ref), hosttest.File("app/mode", mode))), nil
	}
	target, err := Open(t.Context(), cfg, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	store := ledgertest.NewStore()
	return &app{t: t, store: store, Engine: deploy.Engine{
		Config: cfg, Targets: map[release.Target]deploy.Target{release.TargetHost: target}, Ledger: ledger.New(store, "sample", ledger.Options{}),
		Timeout: time.Minute, Progress: o.Progress,
	}}
}

// ship releases a definition.
func (a *app) ship(d service.Definition) release.Record {
	a.t.Helper()
	history, err := a.Read(a.t.Context())
	require.NoError(a.t, err)
	rel := release.Release{App: "sample", Kind: release.KindRelease, SHA: strings.TrimPrefix(d.Digest, "sha256:")[24:], Roles: []release.Role{roleOf(a.t, d)}}
	record, err := a.Release(a.t.Context(), rel, deploy.Terms{History: history})
	require.NoError(a.t, err)
	return record
}

// inCheckout makes a unit by hand that starts from a checkout, and starts it.
func inCheckout(t *testing.T, l *booted, d service.Definition, lines ...string) (unit string) {
	t.Helper()
	const script = "#!/bin/sh\ncd packages/worker || exit\nexec /usr/local/bin/serve\n"
	folder := "/root/Code/" + d.Role
	l.sh(t, `mkdir -p "$1/.git" "$1/packages/worker"; echo checkout >"$1/packages/worker/version"`, folder)
	require.NoError(t, l.Write(t.Context(), folder+"/start.sh", script, 0o755))
	unit = "[Unit]\nDescription=by hand\n[Service]\nExecStart=" + folder + "/start.sh\nWorkingDirectory=" + folder +
		fmt.Sprintf("\nEnvironment=PORT=%d\n", d.Port) + strings.Join(lines, "\n") + "\n[Install]\nWantedBy=multi-user.target\n"
	require.NoError(t, l.Write(t.Context(), "/etc/systemd/system/"+d.File, unit, 0o640))
	l.sh(t, `systemctl daemon-reload; systemctl enable --now "$1"`, d.File)
	require.Eventually(t, func() bool { return l.listens(d.Port) }, 10*time.Second, 20*time.Millisecond)
	return strings.TrimSpace(unit)
}

// runsAsBefore demands that a unit made by hand runs as it did.
func (l *booted) runsAsBefore(t *testing.T, d service.Definition, unit string) {
	t.Helper()
	require.Equal(t, unit, l.sh(t, `cat /etc/systemd/system/"$1"`, d.File))
	require.Equal(t, "640", l.sh(t, `stat -c %a /etc/systemd/system/"$1"`, d.File))
	require.Equal(t, "active", l.sh(t, `systemctl is-active "$1"`, d.File))
	require.Equal(t, "enabled", l.sh(t, `systemctl is-enabled "$1"`, d.File))
	require.Equal(t, "/root/Code/"+d.Role+"/packages/worker", l.sh(t, `readlink "/proc/$1/cwd"`, l.pid(t, d)))
	require.Contains(t, l.ask(t, d.Port), "checkout")
}

func adoptedAndPutBack(t *testing.T, l *booted) {
	d := served("adopted", 4081, "good")
	unit := inCheckout(t, l, d, `Environment="API_TOKEN=hunter2hunter2" COLOR=blue`)
	a := l.engine(t, d.Role)
	record := a.ship(served("adopted", 4081, "broken"))
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Zero(t, record.Restored)
	l.runsAsBefore(t, d, unit)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Record.Parity, status.Record.Drift)
	require.EqualValues(t, 0, status.Record.Seq)
	require.Equal(t, "path:/root/Code/adopted/packages/worker", status.Record.Roles[0].LiveDigest)
	require.Empty(t, status.Record.Roles[0].LiveSHA)

	zero, err := a.Ledger.Read(t.Context(), 0)
	require.NoError(t, err)
	stored := string(zero.Raw) + string(zero.Objects["adopted"][0])
	require.NotContains(t, stored, "hunter2")
	require.Contains(t, stored, "COLOR=blue")
	require.Contains(t, zero.Record.Roles[0].Reason, "not kept: what looks like a secret in test.adopted.service")

	record = a.ship(d)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	record, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	l.runsAsBefore(t, d, unit)
	pid := l.pid(t, d)
	record, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Parity, record.Reason)
	require.Equal(t, pid, l.pid(t, d), "what is as it was is not restarted")

	// By hand it is drift: another file, another folder, disabled.
	l.sh(t, `systemctl disable "$1"`, d.File)
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.Record.Parity)
	require.Contains(t, status.Record.Drift[0].Detail, "is disabled")
	require.True(t, a.ship(d).Parity)
	l.sh(t, `systemctl disable --now "$1"`, d.File)
}

func adoptedFromItsRecord(t *testing.T, l *booted) {
	plain, secret := served("plain", 4082, "good"), served("secret", 4083, "good")
	unit := inCheckout(t, l, plain)
	inCheckout(t, l, secret, "Environment=API_TOKEN=hunter2hunter2")
	a, b := l.engine(t, plain.Role), l.engine(t, secret.Role)
	require.True(t, a.ship(plain).Parity)
	require.True(t, b.ship(secret).Parity)
	for _, d := range []service.Definition{plain, secret} {
		l.sh(t, `rm "$1.before"`, d.UnitCopy())
	}
	record, err := a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Parity, record.Reason)
	require.Equal(t, unit, l.sh(t, `cat /etc/systemd/system/"$1"`, plain.File), "it is in the record")
	record, err = b.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.EqualValues(t, 1, record.Restored)
	require.Contains(t, record.Reason, "test.secret.service as it was before the first release is not on")
	l.sh(t, `systemctl disable --now "$1" "$2"`, plain.File, secret.File)
}

func adoptedWhereItDidNotRun(t *testing.T, l *booted) {
	d := served("resting", 4084, "good")
	inCheckout(t, l, d)
	l.sh(t, `systemctl disable --now "$1"`, d.File)
	a := l.engine(t, d.Role)
	record := a.ship(served("resting", 4084, "broken"))
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Equal(t, "inactive", l.sh(t, `systemctl is-active "$1" || true`, d.File))
	require.Equal(t, "disabled", l.sh(t, `systemctl is-enabled "$1" || true`, d.File))
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Record.Parity, status.Record.Drift)
}
