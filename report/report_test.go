package report_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/report"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// history is n records, newest first: every seventh crashed and was restored, every
// ninth is a rollback.
func history(n int) []release.Record {
	var records []release.Record
	for seq := n; seq >= 1; seq-- {
		at := noon.Add(-time.Duration(n-seq) * 37 * time.Minute)
		r := release.Record{
			App: "system-bus", Seq: int64(seq), Kind: release.KindRelease, SHA: fmt.Sprintf("%040x", sha256.Sum256([]byte{byte(seq), byte(seq >> 8)}))[:40], Version: fmt.Sprintf("1.%d.%d", seq/10, seq%10),
			Outcome: release.Settled, Parity: true, StartedAt: at, SettledAt: at.Add(4200 * time.Millisecond), Previous: int64(seq - 1),
		}
		for i, name := range []string{"cluster", "host", "gateway"} {
			digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(fmt.Sprint(seq-seq%(i+1), i))))
			target := release.TargetHost
			if i == 0 {
				target = release.TargetKubernetes
			}
			r.Roles = append(r.Roles, release.RoleRecord{Name: name, Target: target, Image: "worker", Digest: digest, LiveDigest: digest, Ready: 1, Desired: 1, InParity: true, TookMS: int64(400 + 300*i)})
		}
		switch {
		case seq%7 == 3 && seq > 1:
			f := &release.Failure{Role: "gateway", Code: release.CodeCrashLoop, Object: "Service com.joel.gateway", Message: "it ended with exit code 1, 2 times",
				Log: []string{"<script>alert(1)</script>", "error: fault: crash-on-boot", "      at /app/packages/gateway/src/daemon.ts:8:42"}, Events: []string{"BackOff: restarting"}, Hint: "the last log lines say why: fix it and release again"}
			r.Outcome, r.Parity, r.Restored, r.Reason, r.Failures = release.Restored, false, int64(seq-1), f.Error(), []*release.Failure{f}
			r.Roles[2].InParity = false
		case seq%9 == 5:
			r.Kind, r.Origin = release.KindRollback, int64(seq-2)
		}
		records = append(records, r)
	}
	return records
}

// events are those of the newest of the records.
func events(r release.Record) []release.Event {
	var out []release.Event
	at := r.StartedAt.Add(-3 * time.Second)
	for _, e := range []struct {
		phase release.Phase
		role  string
		text  string
		took  time.Duration
	}{{release.PhaseBuild, "", "built worker", 1900 * time.Millisecond}, {release.PhasePush, "", "pushed worker", 400 * time.Millisecond}, {release.PhaseCheck, "", "nothing stands in the way", 120 * time.Millisecond},
		{release.PhaseApply, "cluster", "2 configured", 80 * time.Millisecond}, {release.PhaseWait, "cluster", "ready", 2100 * time.Millisecond}, {release.PhaseWait, "gateway", "ready", 900 * time.Millisecond}} {
		out = append(out, release.Event{At: at, Phase: e.phase, Role: e.role, Mark: release.MarkStart, Message: e.text})
		at = at.Add(e.took)
		out = append(out, release.Event{At: at, Phase: e.phase, Role: e.role, Mark: release.MarkDone, Message: e.text})
	}
	return out
}

func page(t *testing.T, r report.Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.Write(&b))
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	return file
}

func TestAReportNeedsNoNetworkAndNoDataEndsItsScript(t *testing.T) {
	data, err := os.ReadFile(page(t, report.New("system-bus", history(10), nil, noon)))
	require.NoError(t, err)
	text := string(data)
	require.NotRegexp(t, `(src|href)=|https?://|url\(|@import`, text)
	require.NotContains(t, text, "<script>alert(1)")
	require.NotContains(t, text, "{{")
	require.Equal(t, 2, strings.Count(text, "</script>"))
}

func TestStepsComeFromTheEventsOfTheRun(t *testing.T) {
	records := history(2)
	r := report.New("system-bus", records, events(records[0]), noon)
	require.Len(t, r.Releases[0].Steps, 6)
	require.Equal(t, report.Step{Text: "built worker", TookMS: 1900}, r.Releases[0].Steps[0])
	require.Equal(t, report.Step{Text: "cluster ready", FromMS: 2500, TookMS: 2100}, r.Releases[0].Steps[4])
	require.Equal(t, report.Step{Text: "host switched and ready", FromMS: 400, TookMS: 700}, r.Releases[1].Steps[1], "without events: the switches of the roles")
}

func TestEventsBelongToOneRun(t *testing.T) {
	records := history(3)
	for i := range records { // one right after the other
		records[i].SettledAt = records[0].SettledAt.Add(-time.Duration(i) * 100 * time.Millisecond)
	}
	own := release.Event{At: records[0].SettledAt.Add(-50 * time.Millisecond), Phase: release.PhaseWait, Role: "gateway", Mark: release.MarkFail, Code: release.CodeCrashLoop, Message: "gateway: CrashLoop in …"}
	r := report.New("system-bus", records, []release.Event{own}, noon)
	require.Equal(t, []report.Step{{Text: "gateway CrashLoop", Failed: true}}, r.Releases[0].Steps)
	require.Len(t, r.Releases[1].Steps, 3)
	require.Equal(t, "cluster switched and ready", r.Releases[1].Steps[0].Text)
}

func TestChangesOfObjects(t *testing.T) {
	object := func(replicas, sha, more string) json.RawMessage {
		return json.RawMessage(`{"kind":"Deployment","metadata":{"name":"worker","namespace":"joelclaw","annotations":{"shipit.dev/sha":"` + sha + `"}},"spec":{"replicas":` + replicas + `,"template":{"spec":{"containers":[{"name":"worker","image":"x"` + more + `}]}}}}`)
	}
	secret := func(value string) json.RawMessage {
		return json.RawMessage(`{"kind":"Secret","metadata":{"name":"s","namespace":"joelclaw"},"stringData":{"token":"` + value + `"}}`)
	}
	before := map[string][]json.RawMessage{"cluster": {object("1", "a", ""), secret("old")}, "gone": {object("1", "a", "")}}
	after := map[string][]json.RawMessage{"cluster": {object("2", "b", `,"tty":true`), secret("new")}, "new": {object("1", "a", "")}}
	require.Equal(t, []report.Change{
		{Role: "cluster", Object: "Deployment joelclaw/worker", Action: "configured", Diff: "- spec.replicas: 1\n+ spec.replicas: 2\n+ spec.template.spec.containers[worker].tty: true"},
		{Role: "gone", Object: "Deployment joelclaw/worker", Action: "removed"},
		{Role: "new", Object: "Deployment joelclaw/worker", Action: "created"},
	}, report.Changes(before, after))
	require.Empty(t, report.Changes(after, after))
}

func TestEventsThatWereCutOffAreLeftOut(t *testing.T) {
	got, err := report.Events(strings.NewReader(`{"at":"2026-11-28T12:00:00Z","phase":"build","mark":"start","message":"a"}` + "\n" + `{"at":"2026-`))
	require.NoError(t, err)
	require.Len(t, got, 1)
}

func TestAThousandReleasesStaySmall(t *testing.T) {
	info, err := os.Stat(page(t, report.New("system-bus", history(1000), nil, noon)))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2<<20))
}

// browse loads a page in headless Chromium and returns what it has become.
func browse(t *testing.T, file string, more ...string) string {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--virtual-time-budget=5000"}, more...)
	out, err := exec.CommandContext(ctx, chromium, append(args, "file://"+file)...).Output()
	require.NoError(t, err)
	return string(out)
}

func TestABrowserShowsIt(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes time; -short leaves it out")
	}
	for _, n := range []int{0, 1, 10, 1000} {
		t.Run(fmt.Sprintf("with %d releases", n), func(t *testing.T) {
			records := history(n)
			var own []release.Event
			if n > 0 {
				own = events(records[0])
			}
			r := report.New("system-bus", records, own, noon)
			if n > 0 {
				r.Live = &report.Live{Seq: int64(n), Parity: true}
			}
			dom := browse(t, page(t, r), "--dump-dom")
			shown := regexp.MustCompile(`data-shown-ms="(\d+)"`).FindStringSubmatch(dom)
			require.NotNil(t, shown, "the script did not come to its end")
			ms, err := strconv.Atoi(shown[1])
			require.NoError(t, err)
			t.Logf("shown after %d ms", ms)
			if n == 0 {
				require.Contains(t, dom, "nothing was released yet")
				return
			}
			require.Less(t, ms, 5000, "a busy machine is given five seconds; an idle one takes less than one")
			_, list, _ := strings.Cut(dom, `<ol id="list">`)
			list, _, _ = strings.Cut(list, "</ol>")
			require.Equal(t, n, strings.Count(list, "<button"))
			require.Contains(t, dom, fmt.Sprintf("✓ #%d runs, in parity", n))
			require.Contains(t, dom, "built worker")
			require.Equal(t, 1, strings.Count(list, `aria-current="true"`))
		})
	}
}

func TestAFailureIsShownAsText(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes time; -short leaves it out")
	}
	dom := browse(t, page(t, report.New("system-bus", history(10), nil, noon))+"#10", "--dump-dom")
	require.Contains(t, dom, "Why it failed")
	require.Contains(t, dom, "&lt;script&gt;alert(1)&lt;/script&gt;")
	require.Contains(t, dom, "the last log lines say why")
}

func TestTheDocumentIsJSON(t *testing.T) {
	text, err := json.Marshal(report.New("system-bus", history(3), nil, noon))
	require.NoError(t, err)
	var doc struct{ Releases []struct{ Seq int64 } }
	require.NoError(t, json.Unmarshal(text, &doc))
	require.Equal(t, int64(3), doc.Releases[0].Seq)
}

// TestScreenshots writes pictures to look at into the folder that SHIPIT_SCREENSHOTS
// names: the report at three widths, light and dark.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SHIPIT_SCREENSHOTS")
	if dir == "" {
		t.Skip("SHIPIT_SCREENSHOTS names no folder for pictures")
	}
	records := history(24)
	r := report.New("system-bus", records, events(records[0]), noon)
	r.Live = &report.Live{Seq: 24, Parity: true}
	r.Releases[0].Changes = []report.Change{{Role: "cluster", Object: "Deployment joelclaw/system-bus-worker", Action: "configured",
		Diff: "- spec.template.spec.containers[worker].image: ghcr.io/a/b@sha256:1111…\n+ spec.template.spec.containers[worker].image: ghcr.io/a/b@sha256:2222…\n+ spec.template.spec.containers[worker].env[FAULT].value: crash-on-boot"}}
	for _, width := range []int{390, 820, 1440} {
		for name, more := range map[string][]string{"light": nil, "dark": {"--force-dark-mode", "--blink-settings=preferredColorScheme=0"}} {
			picture := filepath.Join(dir, fmt.Sprintf("report-%d-%s.png", width, name))
			browse(t, page(t, r)+"#24", append(more, fmt.Sprintf("--window-size=%d,%d", width, 1100), "--screenshot="+picture)...)
			require.FileExists(t, picture)
		}
	}
}
