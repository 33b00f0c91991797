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
	cfg := config.Config{App: "sample", Path: "shipit.yaml", Roles: config.Roles{{Name: role, Host: &h}},
		Check: config.Check{Forbid: []config.Forbid{{Pattern: "Code/cloned", Why: "the clone is retired"}}}}
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
	require.Eventually(t, func() bool { return l.listens(d.Port) }, time.Minute, 20*time.Millisecond)
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

// startsByHand goes through what a machine may start in place of a release.
func startsByHand(t *testing.T, l *booted) {
	d := served("cloned", 4085, "good")
	d.Env["WORKER_ROLE"] = "host"
	d.Content = strings.Replace(d.Content, "Environment=SHIPIT_RELEASE", "Environment=WORKER_ROLE=host SHIPIT_RELEASE", 1)
	inCheckout(t, l, d)
	require.NoError(t, l.Write(t.Context(), "/root/Code/cloned/start.sh", "#!/bin/sh\n[ -n \"$1\" ] || git pull --ff-only\ncd packages/worker\nexec /usr/local/bin/serve\n", 0o755))
	a := l.engine(t, d.Role)
	rel := release.Release{App: "sample", Kind: release.KindRelease, SHA: strings.Repeat("1", 40), Roles: []release.Role{roleOf(t, d)}}
	plan, err := a.Plan(t.Context(), rel, deploy.Terms{}, nil)
	require.NoError(t, err)
	require.Len(t, plan.Findings, 1)
	found := plan.Findings[0]
	require.Equal(t, release.CodeStartsByHand, found.Code)
	require.Equal(t, release.Warns, found.Severity, "the release puts it right")
	for _, part := range []string{"it starts from the checkout /root/Code/cloned", "/root/Code/cloned/start.sh:2 runs `git pull`", `names "Code/cloned", which is forbidden: the clone is retired`} {
		require.Contains(t, found.Message, part)
	}

	// A second process of the role, wherever it works, is no release's to end.
	l.sh(t, `systemd-run --quiet --unit=strayrole --service-type=exec --working-directory=/srv --setenv=PORT=4994 --setenv=WORKER_ROLE=host /usr/local/bin/serve
systemd-run --quiet --unit=otherrole --service-type=exec --working-directory=/srv --setenv=PORT=4993 --setenv=WORKER_ROLE=cluster /usr/local/bin/serve`)
	history, err := a.Read(t.Context())
	require.NoError(t, err)
	_, err = a.Release(t.Context(), rel, deploy.Terms{History: history})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Len(t, refusal.Findings, 1)
	require.Equal(t, release.CodeSecondProcess, refusal.Findings[0].Code)
	require.Contains(t, refusal.Findings[0].Message, "PID "+l.sh(t, `systemctl show -p MainPID --value strayrole`)+" (/usr/local/bin/serve) runs beside the service with WORKER_ROLE=host, in /srv")
	l.sh(t, `systemctl stop strayrole`)
	require.True(t, a.ship(d).Parity)

	// The unit is edited to start from the clone again.
	l.sh(t, `sed -i -e 's,^WorkingDirectory=.*,WorkingDirectory=/root/Code/cloned,' -e 's,^ExecStart=.*,ExecStart=/root/Code/cloned/start.sh now,' /etc/systemd/system/"$1"; systemctl daemon-reload; systemctl restart "$1"`, d.File)
	require.Eventually(t, func() bool { return l.listens(d.Port) }, time.Minute, 20*time.Millisecond)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.Record.Parity)
	require.Contains(t, status.Record.Drift[0].Detail, "it starts from the checkout /root/Code/cloned")
	require.Contains(t, status.Record.Drift[0].Detail, "start.sh:2 runs `git pull`")
	source := status.Record.Roles[0].Source
	require.Equal(t, "/root/Code/cloned/packages/worker", source.Folder)
	require.Nil(t, source.Release)
	require.WithinDuration(t, time.Now(), source.Since, time.Minute)

	other := l.sh(t, `systemctl show -p MainPID --value otherrole`)
	status, err = a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, status.Record.Parity, status.Record.Drift)
	require.Equal(t, []string{"cloned"}, status.Repaired)
	source = status.Record.Roles[0].Source
	require.Equal(t, d.Workdir, source.Folder)
	require.Equal(t, d.Digest, source.Digest)
	require.EqualValues(t, 1, *source.Release)
	require.Equal(t, other, l.sh(t, `systemctl show -p MainPID --value otherrole`))
	l.sh(t, `systemctl stop otherrole; systemctl disable --now "$1"`, d.File)
}
