package console_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/release"
)

const (
	first  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	second = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	sha    = "4f2a91c0000000000000000000000000000000aa"
	older  = "2ecd5c3000000000000000000000000000000000"
)

// settled is a record of three roles in parity.
func settled() release.Record {
	r := release.Record{App: "system-bus", Seq: 42, Kind: release.KindRelease, SHA: sha, Version: "1.4.2-dev.12.g4f2a91c", Outcome: release.Settled, Parity: true,
		StartedAt: time.Date(2026, 11, 28, 11, 16, 25, 0, time.UTC), SettledAt: time.Date(2026, 11, 28, 11, 16, 27, 0, time.UTC)}
	for _, name := range []string{"cluster", "host", "gateway"} {
		target := release.TargetHost
		if name == "cluster" {
			target = release.TargetKubernetes
		}
		r.Roles = append(r.Roles, release.RoleRecord{Name: name, Target: target, Image: "worker", Digest: first, Wanted: first, LiveDigest: first, LiveSHA: sha, Ready: 1, Desired: 1, InParity: true})
	}
	return r
}

// crashed is settled with a cluster that crashed, restored to the release before.
func crashed() release.Record {
	r := settled()
	code := 1
	f := &release.Failure{Role: "cluster", Code: release.CodeCrashLoop, Object: "Pod joelclaw/system-bus-7d9f", Message: "container worker ended with exit code 1, 2 times", ExitCode: &code,
		Log: []string{"error: fault"}, Events: []string{"BackOff: Back-off restarting failed container"}, Hint: "the last log lines say why: fix it and release again"}
	r.Outcome, r.Parity, r.Restored, r.Failures, r.Reason = release.Restored, false, 41, []*release.Failure{f}, f.Error()
	r.Roles[0].InParity, r.Roles[0].Reason, r.Roles[0].LiveSHA = false, f.Error(), older
	return r
}

func written(write func(w *bytes.Buffer)) string {
	var b bytes.Buffer
	write(&b)
	return b.String()
}

func TestARecordInParity(t *testing.T) {
	require.Equal(t, `system-bus #42 4f2a91c 1.4.2-dev.12.g4f2a91c release: settled, in parity
  ROLE     TARGET      READY  PARITY  RUNS
  cluster  kubernetes  1/1    yes     111111111111
  host     host        1/1    yes     111111111111
  gateway  host        1/1    yes     111111111111
`, written(func(w *bytes.Buffer) { console.Record(w, settled(), 80) }))
	wide := written(func(w *bytes.Buffer) { console.Record(w, settled(), 120) })
	require.Contains(t, wide, "  cluster  kubernetes  worker  1/1    yes     4f2a91c  111111111111\n")
}

func TestAFailureIsToldOnce(t *testing.T) {
	text := written(func(w *bytes.Buffer) { console.Record(w, crashed(), 80) })
	require.Equal(t, `system-bus #42 4f2a91c 1.4.2-dev.12.g4f2a91c release: restored (#41 runs again)
  ROLE     TARGET      READY  PARITY  COMMIT   RUNS
  cluster  kubernetes  1/1    NO      2ecd5c3  111111111111
  host     host        1/1    yes              111111111111
  gateway  host        1/1    yes              111111111111
✗ cluster: CrashLoop in Pod joelclaw/system-bus-7d9f: container worker ended with exit code 1, 2 times
  | error: fault
  event: BackOff: Back-off restarting failed container
  → the last log lines say why: fix it and release again
`, text)
	require.Equal(t, 1, strings.Count(text, "exit code 1"))
}

func TestDriftIsToldOnceAndShowsWhatDiffers(t *testing.T) {
	r := settled()
	r.Parity = false
	r.Drift = []release.Drift{
		{Role: "cluster", Kind: release.DriftDigest, Wanted: first, Live: second},
		{Role: "host", Kind: release.DriftUnready, Wanted: first, Live: first, Detail: "0/1 ready"},
		{Role: "gateway", Kind: release.DriftObject, Wanted: "nothing", Live: "1", Detail: "Deployment a/b: spec.x"},
	}
	for i := range r.Roles {
		r.Roles[i].InParity, r.Roles[i].Reason = false, r.Drift[i].String()
	}
	r.Roles[0].LiveDigest, r.Roles[0].LiveSHA, r.Roles[0].Wanted = second, "", second
	require.Equal(t, `system-bus #42 4f2a91c 1.4.2-dev.12.g4f2a91c, NOT in parity
  ROLE     TARGET      READY  PARITY  RUNS
  cluster  kubernetes  1/1    NO      222222222222, not 111111111111
  host     host        1/1    NO      111111111111
  gateway  host        1/1    NO      111111111111
  newest record: #43 4f2a91c release: settled, in parity; shipit history 43 tells more
✗ cluster: digest: wanted sha256:111111111111, live sha256:222222222222
✗ host: 0/1 ready
✗ gateway: Deployment a/b: spec.x: live 1, wanted nothing
`, written(func(w *bytes.Buffer) {
		newest := settled()
		newest.Seq = 43
		console.Status(w, r, newest, 80)
	}))
}

// What ran before the first release may name its image by a tag.
func TestATagThatNamesWhatRunsIsNoContradiction(t *testing.T) {
	r := settled()
	r.Roles[0].Wanted = "registry.test:5000/system-bus-worker:20251224-181503"
	text := written(func(w *bytes.Buffer) { console.Status(w, r, r, 80) })
	require.Contains(t, text, "yes     111111111111, by tag 20251224-181503\n")
	require.NotContains(t, text, "wanted")
}

func TestTablesFit80Columns(t *testing.T) {
	r := crashed()
	r.Roles[1].Name, r.Roles[1].LiveDigest, r.Roles[1].Wanted = "a-role-with-a-name-of-thirty-chars", second, second
	r.Roles[2].Reason, r.Roles[2].InParity = strings.Repeat("a long reason ", 20), false
	text := written(func(w *bytes.Buffer) { console.Status(w, r, r, 80) })
	table, _, _ := strings.Cut(text, "✗ cluster")
	long := settled()
	long.Seq, long.Kind, long.Reason, long.Withdrawn = 123456, release.KindRollback, strings.Repeat("a long reason ", 20), true
	table += written(func(w *bytes.Buffer) { console.History(w, []release.Record{long, crashed(), settled()}, 80) })
	for line := range strings.Lines(table) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
	}
}

func TestHistory(t *testing.T) {
	require.Equal(t, `  SEQ  KIND     SHA      VERSION                OUTCOME  TOOK  STARTED
  42   release  4f2a91c  1.4.2-dev.12.g4f2a91c  settled  2.0s  2026-11-28 11:16Z
`, written(func(w *bytes.Buffer) { console.History(w, []release.Record{settled()}, 80) }))
	require.Contains(t, written(func(w *bytes.Buffer) { console.History(w, []release.Record{crashed()}, 80) }),
		"\n      cluster: CrashLoop in Pod joelclaw/system-bus-7d9f: container worker ende…\n")
	require.Contains(t, written(func(w *bytes.Buffer) { console.History(w, []release.Record{crashed()}, 0) }), "2 times\n")
}

func TestStatusTellsWhatTheFunctionServerHas(t *testing.T) {
	r := settled()
	r.Functions = &release.Functions{Roles: []release.RoleFunctions{
		{Role: "cluster", Count: 14, Registered: "http://system-bus-worker:3111/api/inngest"},
		{Role: "host", Count: 163, Registered: "http://localhost:3111/api/inngest", Unregistered: "not a URL on host.docker.internal:3111"},
		{Role: "gateway", Unasked: "GET http://flagg:8288: connection refused"},
	}}
	r.Drift = []release.Drift{{Role: "gateway", Kind: release.DriftObject, Wanted: "nothing", Live: "1", Detail: "Deployment a/b: spec.x"}, {Role: "host", Kind: release.DriftObject, Wanted: "a URL on host.docker.internal:3111", Live: "http://localhost:3111/api/inngest", Detail: "registration at the server: url"}}
	_, lines, _ := strings.Cut(written(func(w *bytes.Buffer) { console.Status(w, r, r, 80) }), "LAST REGISTRATION\n")
	require.Equal(t, `  cluster  14         -
  host     163        -
  gateway  0          -
  cluster is registered at the server: http://system-bus-worker:3111/api/inngest
  gateway: what the server has registered could not be asked: GET http://flagg:8288: connection refused
✗ gateway: Deployment a/b: spec.x: live 1, wanted nothing
✗ host: registration at the server: url: live http://localhost:3111/api/inngest, wanted a URL on host.docker.internal:3111
`, lines)
}

func TestStatusTellsWhereWhatRunsComesFrom(t *testing.T) {
	r, seq := settled(), int64(41)
	began := time.Date(2026, 11, 28, 11, 16, 25, 0, time.UTC)
	r.Roles[0].Source = &release.Source{Image: "ghcr.io/joelhooks/system-bus-worker@" + first, Release: &seq, Digest: first, Since: began}
	r.Roles[1].Source = &release.Source{Folder: "/root/Code/system-bus-worker"}
	require.Contains(t, written(func(w *bytes.Buffer) { console.Status(w, r, r, 0) }), `
  ROLE     RELEASE  SINCE              SOURCE
  cluster  #41      2026-11-28 11:16Z  ghcr.io/joelhooks/system-bus-worker@sha256:111111111111
  host     none     -                  /root/Code/system-bus-worker
`)
}

func TestStatusNamesARoleToRetire(t *testing.T) {
	r := settled()
	r.Functions = &release.Functions{Roles: []release.RoleFunctions{{Role: "cluster", Count: 14}, {Role: "host", Retire: true}}}
	require.Contains(t, written(func(w *bytes.Buffer) { console.Status(w, r, r, 80) }), "  host has no function left: retire the role (docs/runbook.md, Retire a role)\n")
}
