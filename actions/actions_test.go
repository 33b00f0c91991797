package actions

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// job is a step of Actions whose files a test reads back.
type job struct {
	Step
	log *bytes.Buffer
}

func newJob(t *testing.T) job {
	t.Helper()
	dir, log := t.TempDir(), &bytes.Buffer{}
	return job{Step{summary: filepath.Join(dir, "summary"), output: filepath.Join(dir, "output"), log: log}, log}
}

func (j job) text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func settled() release.Record {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return release.Record{
		App: "system-bus", Seq: 42, Kind: release.KindRelease, SHA: strings.Repeat("a", 40), Version: "1.4.2",
		Outcome: release.Settled, Parity: true, StartedAt: start, SettledAt: start.Add(72 * time.Second),
		Roles: []release.RoleRecord{
			{Name: "cluster", Target: release.TargetKubernetes, Digest: "sha256:" + strings.Repeat("1", 64), LiveDigest: "sha256:" + strings.Repeat("1", 64), Ready: 3, Desired: 3, InParity: true, TookMS: 2100},
			{Name: "gateway", Target: release.TargetHost, Digest: "sha256:" + strings.Repeat("2", 64), LiveDigest: "sha256:" + strings.Repeat("2", 64), Ready: 1, Desired: 1, InParity: true, TookMS: 900},
		},
	}
}

func TestAGoodRecordIsOutputsAndASummary(t *testing.T) {
	j := newJob(t)
	require.NoError(t, j.ReportRecord(settled(), nil))
	require.Empty(t, j.log.String(), "nothing to annotate")
	require.Equal(t, "sha="+strings.Repeat("a", 40)+"\nversion=1.4.2\nseq=42\nparity=true\noutcome=settled\n"+
		"digest=sha256:"+strings.Repeat("1", 64)+"\ndigest-cluster=sha256:"+strings.Repeat("1", 64)+"\ndigest-gateway=sha256:"+strings.Repeat("2", 64)+"\n",
		j.text(t, j.output))
	summary := j.text(t, j.summary)
	require.Contains(t, summary, "## ✅ system-bus release #42")
	require.Contains(t, summary, "version `1.4.2`")
	require.Contains(t, summary, "took 1m12s")
	require.Contains(t, summary, "| gateway | host | `"+release.ShortDigest("sha256:"+strings.Repeat("2", 64))+"` |")
	require.Contains(t, summary, "| 3/3 | ✅ | 2100 ms |")
}

func TestAFailedRecordIsAnnotatedWithItsCause(t *testing.T) {
	j := newJob(t)
	r := settled()
	r.Outcome, r.Parity, r.Restored, r.Roles[0].InParity = release.Restored, false, 41, false
	r.Failures = []*release.Failure{{Role: "cluster", Code: release.CodeCrashLoop, Message: "exit 1 | <b>", Log: []string{"one", "```", "two"}, Hint: "read the log"}}
	require.NoError(t, j.ReportRecord(r, errors.New("100% gone\r\n::warning::not a command")))
	require.Equal(t, "::error title=shipit release restored::100%25 gone%0D%0A::warning::not a command\n", j.log.String())
	summary := j.text(t, j.summary)
	require.Contains(t, summary, "## ❌ system-bus")
	require.Contains(t, summary, "#41 runs again")
	require.Contains(t, summary, "exit 1 \\| &lt;b&gt;")
	require.Contains(t, summary, "\n````text\none\n```\ntwo\n````\n", "a log cannot end its block")
	require.Contains(t, summary, "→ read the log")
	require.Contains(t, j.text(t, j.output), "parity=false\noutcome=restored\n")
}

func TestARefusalIsAnnotatedAtItsPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a finding at a line", &release.Refusal{Findings: []release.Finding{{Code: release.CodeForbidden, Severity: release.Refuses, Object: "a,b.yaml:7", Message: "says latest"}}},
			"::error file=a%2Cb.yaml,line=7,title=shipit release Forbidden::Forbidden a,b.yaml:7: says latest\n"},
		{"a finding at an object", &release.Refusal{Findings: []release.Finding{{Code: "NoSecret", Severity: release.Refuses, Role: "cluster", Object: "Secret joelclaw/pull: x", Message: "is not there"}}},
			"::error title=shipit release NoSecret::cluster: NoSecret Secret joelclaw/pull: x: is not there\n"},
		{"an image is no file, though its digest may be a number", &release.Refusal{Findings: []release.Finding{{Code: "NoSuchImage", Severity: release.Refuses, Object: "ghcr.io/x/y@sha256:77", Message: "is not there"}}},
			"::error title=shipit release NoSuchImage::NoSuchImage ghcr.io/x/y@sha256:77: is not there\n"},
		{"a fault of the configuration", &config.Error{File: "shipit.yaml", Line: 3, Msg: "unknown key"},
			"::error file=shipit.yaml,line=3,title=shipit release::shipit.yaml:3: unknown key\n"},
		{"anything else", errors.New("no route\nto host"), "::error title=shipit release::no route; to host\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJob(t)
			require.NoError(t, j.ReportError("shipit release", fmt.Errorf("%w", c.err)))
			require.Equal(t, c.want, j.log.String())
			require.Equal(t, "outcome=refused\n", j.text(t, j.output))
			require.Contains(t, j.text(t, j.summary), "## ❌ shipit release\n\n- ")
		})
	}
}

func TestAWarningFailsNothing(t *testing.T) {
	j := newJob(t)
	require.NoError(t, j.ReportFindings("shipit check", []release.Finding{{Code: release.CodeWorkflowPaths, Severity: release.Warns, Object: "w.yml:1", Message: "m", Hint: "h"}}))
	require.Equal(t, "::warning file=w.yml,line=1,title=shipit check WorkflowPaths::WorkflowPaths w.yml:1: m\n", j.log.String())
	require.Equal(t, "## ⚠️ shipit check\n\n- WorkflowPaths w.yml:1: m\n  → h\n\n", j.text(t, j.summary))
	require.NoFileExists(t, j.output)
}

func TestAValueOfSeveralLinesNamesNoOutputsOfItsOwn(t *testing.T) {
	require.Equal(t, "version=1.2.3\n", output("version", "1.2.3"))
	require.Equal(t, "version<<end-of-version\n1\nseq=9\nend-of-version\n", output("version", "1\nseq=9"))
	require.Equal(t, "version<<end-of-version-\n1\nend-of-version\nseq=9\nend-of-version-\n", output("version", "1\nend-of-version\nseq=9"))
}

func TestOutsideOfActionsNothingIsWritten(t *testing.T) {
	var log bytes.Buffer
	summary := filepath.Join(t.TempDir(), "summary")
	t.Setenv("GITHUB_ACTIONS", "")
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	a := Current(&log)
	require.NoError(t, a.ReportRecord(settled(), errors.New("x")))
	require.NoError(t, a.ReportError("shipit release", errors.New("x")))
	require.Empty(t, log.String())
	require.NoFileExists(t, summary)

	t.Setenv("GITHUB_ACTIONS", "true")
	require.NoError(t, Current(&log).ReportError("shipit release", errors.New("x")))
	require.FileExists(t, summary)
	require.NotEmpty(t, log.String())
}
