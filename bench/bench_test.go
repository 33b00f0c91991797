package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMain lets the test's own program be the small process that measures.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == measureArg {
		os.Exit(measureMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const auditLines = `{"auditID":"1","stage":"ResponseComplete","verb":"patch","requestURI":"/apis/apps/v1/namespaces/n/deployments/app?dryRun=All","userAgent":"kubectl/v1.35.4","requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z"}
{"auditID":"2","stage":"ResponseStarted","verb":"watch","requestURI":"/apis/apps/v1/deployments","userAgent":"kubectl/v1.35.4","requestReceivedTimestamp":"2026-01-02T03:04:05.2Z"}
{"auditID":"2","stage":"ResponseComplete","verb":"watch","requestURI":"/apis/apps/v1/deployments","userAgent":"kubectl/v1.35.4","requestReceivedTimestamp":"2026-01-02T03:04:05.2Z"}
{"auditID":"3","stage":"ResponseComplete","verb":"get","requestURI":"/version","userAgent":"kwok/v0.8.0","requestReceivedTimestamp":"2026-01-02T03:04:05.3Z"}
{"auditID":"4","stage":"ResponseComplete","verb":"patch","requestURI":"/apis/apps/v1/namespaces/n/deployments/app?fieldManager=kubectl","userAgent":"kubectl/v1.35.4","requestReceivedTimestamp":"2026-01-02T03:04:05.4Z"}
{"auditID":"5","stage":"Respo`

func TestRequestsAreCountedFromTheAuditLog(t *testing.T) {
	list := requestsOf([]byte(auditLines), "kubectl")
	require.Len(t, list, 3, "a watch is one request, another program's and half a line are none")
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 4e8, time.UTC), firstChange(list), "a dry run changes nothing")
	require.True(t, firstChange(list[:2]).IsZero())
}

func TestMeasureRunsLinesInARowUntilOneFails(t *testing.T) {
	m, err := measure(context.Background(), t.TempDir(), os.Environ(), [][]string{
		{"sh", "-c", "echo one"}, {"sh", "-c", "echo two >&2; exit 3"}, {"sh", "-c", "echo three"},
	})
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", m.Out.String())
	require.Equal(t, 3, m.Code)
	require.Greater(t, m.took(), time.Duration(0))
	require.Less(t, m.MaxRSS, int64(200<<10), "what the parent is must not be in it")
	require.Equal(t, int64(1234), highWater("Name:\tsh\nVmHWM:\t    1234 kB\nVmRSS:\t 9 kB\n"))
	require.Zero(t, highWater(""), "of a process that has ended")
	require.False(t, m.Out.when(regexp.MustCompile("two")).IsZero())
	require.True(t, m.Out.when(regexp.MustCompile("three")).IsZero())

	_, err = measure(context.Background(), t.TempDir(), nil, [][]string{{filepath.Join(t.TempDir(), "no-program")}})
	require.ErrorContains(t, err, "no-program")
}

func TestTheTableComparesShipitWithTheBestPeer(t *testing.T) {
	tab := &table{tools: []tool{{name: "shipit"}, {name: "kubectl", version: "v1"}, {name: "kapp"}}, rounds: 3, load: "0.10", skipped: []string{"helm: no network"}}
	tab.figures("Section", "took", seconds, figures{"shipit": {0.3, 0.05, 0.2}, "kubectl": {0.4, 0.4}, "kapp": {1}})
	tab.figures("Section", "memory", kibibyte, figures{"kubectl": {2000}})
	tab.words("Section", "says", map[string]string{"kapp": "no"})
	text := tab.markdown()
	require.Contains(t, text, "| took | 0.20 s | 0.40 s | 1.00 s | 0.50 |")
	require.Contains(t, text, "| memory | – | 2 MB | – |  |")
	require.Contains(t, text, "| says | – | – | no |  |")
	require.Contains(t, text, "Left out: helm: no network.")

	doc := filepath.Join(t.TempDir(), "doc.md")
	require.NoError(t, os.WriteFile(doc, []byte("before\n"+beginMark+"old\n"+endMark+"after\n"), 0o644))
	require.NoError(t, tab.writeTo(doc))
	got, err := os.ReadFile(doc)
	require.NoError(t, err)
	require.Equal(t, "before\n"+beginMark+"\n"+pictures(doc)+text+"\n"+endMark+"after\n", string(got))
	require.Contains(t, pictures(doc), `srcset="doc-dark.svg"`)
	require.NotContains(t, text, "What a peer does better")
	tab.rows[0].values["shipit"] = 0.5
	require.Contains(t, tab.markdown(), "### What a peer does better\n\n- Section, took: kubectl 0.40 s, shipit 0.50 s.\n")
	require.NoError(t, os.WriteFile(doc, []byte("no marks\n"), 0o644))
	require.ErrorContains(t, tab.writeTo(doc), "no place")
}

func TestAMishapIsJudgedByWhatRuns(t *testing.T) {
	runs := func(config, pods string) state {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		d.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"restart": pods}}}
		return state{deployment: d, revision: config}
	}
	codes := func(a, b int) []*measured { return []*measured{{Code: a}, {Code: b}} }
	require.Equal(t, "exits 0 and 0: both say success, 1 of them runs", agreed(codes(0, 0), runs("r2", "r2")))
	require.Equal(t, "exits 0 and 0: both say success, 0 of them runs", agreed(codes(0, 0), runs("r1", "r2")))
	require.Equal(t, "exits 7 and 0: one is refused, the other runs", agreed(codes(7, 0), runs("r2", "r2")))
	require.Equal(t, "exits 7 and 0: one says success and does not run", agreed(codes(7, 0), runs("r1", "r1")))

	before := runs("r0", "r0")
	require.Equal(t, "nothing changed", runs("r0", "r0").since(before))
	require.Equal(t, "left half changed", runs("r1", "r0").since(before))
	require.Equal(t, "left broken", runs("r1", "r1").since(before))
	back := runs("r0", "r0")
	back.deployment.Generation = 4
	require.Equal(t, "put back", back.since(before))
}
