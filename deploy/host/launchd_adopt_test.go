package host

// launchd cannot run where these tests run: a script stands in for launchctl. It shows that
// the steps and their order put a plist back, not that a Mac takes them.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// plist is one that the stand-in understands.
func plist(label, dir string, variables map[string]string, words ...string) string {
	text := "<plist version=\"1.0\"><dict>\n<key>Label</key><string>" + label + "</string>\n<key>WorkingDirectory</key><string>" + dir + "</string>\n<key>ProgramArguments</key>\n<array>\n"
	for _, word := range words {
		text += "<string>" + word + "</string>\n"
	}
	text += "</array>\n<key>EnvironmentVariables</key>\n<dict>\n"
	for name, value := range variables {
		text += "<key>" + name + "</key><string>" + value + "</string>\n"
	}
	return text + "</dict>\n</dict></plist>\n"
}

// mac is a folder that stands for a Mac.
type mac struct{ root, agents, clone string }

func newMac(t *testing.T) mac {
	t.Helper()
	if _, err := exec.LookPath("lsof"); err != nil {
		t.Skip("lsof, which a Mac has, is not here")
	}
	dir := t.TempDir()
	m := mac{root: filepath.Join(dir, "shipit"), agents: filepath.Join(dir, "LaunchAgents"), clone: filepath.Join(dir, "Code/worker")}
	state, bin := filepath.Join(dir, "launchd"), filepath.Join(dir, "bin")
	for _, folder := range []string{m.agents, filepath.Join(m.clone, ".git"), state, bin} {
		require.NoError(t, os.MkdirAll(folder, 0o755))
	}
	script, err := filepath.Abs("testdata/launchctl.sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "launchctl"), []byte("#!/bin/sh\nexec sh "+script+" \"$@\"\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("LAUNCHD", state)
	t.Cleanup(func() {
		_ = exec.Command("launchctl", "bootout", "gui/501/test.plist").Run()
		_ = exec.Command("chmod", "-R", "u+w", m.root).Run()
	})
	return m
}

// definition is a release of the service test.plist that runs these words.
func (m mac) definition(version string, words ...string) service.Definition {
	d := service.Definition{ServiceDefinition: release.ServiceDefinition{
		Kind: "launchd", App: "sample", Role: "worker", Service: "test.plist", Domain: "gui/501", File: "test.plist.plist", Dir: m.agents,
		Root: m.root, Stop: 1000, Stable: 100, Digest: fmt.Sprintf("sha256:%064x", []byte(version)), Command: words, Address: release.LocalMachine,
	}}
	d.Workdir = d.ReleaseDir() + "/app"
	d.Env = map[string]string{"SHIPIT_RELEASE": d.Digest}
	d.Content = plist(d.Service, d.Workdir, d.Env, words...)
	return d
}

func (m mac) engine(t *testing.T) *app {
	t.Helper()
	cfg := config.Config{App: "sample", Path: "shipit.yaml", Roles: config.Roles{{Name: "worker", Host: &config.Host{Manager: "launchd", Service: "test.plist", Root: m.root}}}}
	target, err := Open(t.Context(), cfg, Options{
		Progress: func(e release.Event) { t.Logf("%s %s %s", e.Phase, e.Mark, e.Message) },
		ImageFor: func(_ context.Context, ref, _ string) (v1.Image, error) {
			return imageOf(t, layerOf(t, hosttest.File("app/version", ref))), nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	store := ledgertest.NewStore()
	return &app{t: t, store: store, Engine: deploy.Engine{
		Config: cfg, Targets: map[release.Target]deploy.Target{release.TargetHost: target}, Ledger: ledger.New(store, "sample", ledger.Options{}), Timeout: time.Minute,
	}}
}

func TestAPlistMadeByHandIsPutBackAndRolledBackTo(t *testing.T) {
	m := newMac(t)
	file := filepath.Join(m.agents, "test.plist.plist")
	byHand := plist("test.plist", m.clone, map[string]string{"API_TOKEN": "hunter2"}, "/bin/sleep", "1000")
	require.NoError(t, os.WriteFile(file, []byte(byHand), 0o600))
	out, err := exec.CommandContext(t.Context(), "launchctl", "bootstrap", "gui/501", file).CombinedOutput()
	require.NoError(t, err, string(out))
	asBefore := func(a *app) {
		t.Helper()
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, byHand, string(text))
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds a secret")
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.Record.Parity, status.Record.Drift)
		require.True(t, status.Record.Adopted)
		require.Equal(t, m.clone, status.Record.Roles[0].Source.Folder)
		require.Contains(t, status.Record.Roles[0].Reason, "it starts from the checkout "+m.clone)
	}

	a := m.engine(t)
	record := a.ship(m.definition("broken", "/bin/sh", "-c", "exit 3"))
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	asBefore(a)
	zero, err := a.Ledger.Read(t.Context(), 0)
	require.NoError(t, err)
	require.NotContains(t, string(zero.Raw)+string(zero.Objects["worker"][0]), "hunter2")
	require.Contains(t, string(zero.Objects["worker"][0]), m.clone)

	good := m.definition("good", "/bin/sleep", "1000")
	record = a.ship(good)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	require.Equal(t, good.Workdir, sourceOf(t, a).Folder)
	require.EqualValues(t, 2, *sourceOf(t, a).Release)
	record, err = a.Rollback(t.Context(), "0", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Settled, record.Outcome, record.Reason)
	require.True(t, record.Parity, record.Reason)
	asBefore(a)

	// The plist is edited to start from the clone again, and put back.
	require.True(t, a.ship(good).Parity)
	edited := strings.Replace(good.Content, good.Workdir, m.clone, 1)
	require.NoError(t, os.WriteFile(file, []byte(edited), 0o644))
	for _, words := range [][]string{{"bootout", "gui/501/test.plist"}, {"bootstrap", "gui/501", file}} {
		require.NoError(t, exec.CommandContext(t.Context(), "launchctl", words...).Run())
	}
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Contains(t, status.Record.Drift[0].Detail, "it starts from the checkout "+m.clone)
	status, err = a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, status.Record.Parity, status.Record.Drift)
}

func sourceOf(t *testing.T, a *app) release.Source {
	t.Helper()
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.NotNil(t, status.Record.Roles[0].Source)
	return *status.Record.Roles[0].Source
}
