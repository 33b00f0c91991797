package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// fleet is a role of that many objects: as many Deployments as asked for
// and ConfigMaps up to the sum.
func fleet(t *testing.T, ns, digest string, objects, deployments, replicas int) release.Role {
	t.Helper()
	docs := make([]string, 0, objects)
	for i := range objects {
		if i < deployments {
			docs = append(docs, strings.ReplaceAll(deployment(fmt.Sprintf("d%d", i), replicas), "labels: {app:", "labels: {fleet: one, app:"))
			continue
		}
		docs = append(docs, fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c%d","namespace":"$NS"},"data":{"image":"$IMAGE","n":"%d"}}`, i, i))
	}
	return roleOf(t, ns, digest, docs...)
}

// requests counts what the API server was asked by shipit since the last call.
type requests struct {
	t    *testing.T
	path string
	from int64
}

func (r *requests) since() map[string]int {
	r.t.Helper()
	time.Sleep(200 * time.Millisecond) // the server writes its log after it has answered
	data, err := os.ReadFile(r.path)
	require.NoError(r.t, err)
	counts := map[string]int{}
	for _, line := range strings.Split(string(data[r.from:]), "\n") {
		var e struct {
			Verb, UserAgent, Stage string
			ObjectRef              struct{ Resource, Namespace string }
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.UserAgent == Manager && (e.Stage == "ResponseComplete" && e.Verb != "watch" || e.Stage == "ResponseStarted") {
			counts[e.Verb]++
			counts["all"]++
		}
	}
	r.from = int64(len(data))
	return counts
}

func TestScale(t *testing.T) {
	c := connect(t)
	log := &requests{t: t, path: plane.up.AuditLog}
	ns := namespace(t, c)
	const objects, deployments, replicas = 500, 200, 5
	silent := ApplyOptions{App: "test"}

	step := func(t *testing.T, role release.Role) (Applied, map[string]int) {
		log.since()
		began := time.Now()
		a, err := c.Apply(t.Context(), role, silent)
		require.NoError(t, err)
		applied := time.Since(began)
		live, err := c.Wait(t.Context(), role, a, WaitOptions{Timeout: 4 * time.Minute})
		require.NoError(t, err)
		all := time.Since(began)
		require.Equal(t, deployments*replicas, live.Ready)
		require.Equal(t, []string{role.Digest}, live.Digests)
		counts := log.since()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("apply %s, with wait %s, requests %v, heap %d MB, peak %s", applied, all, counts, m.HeapAlloc>>20, peak())
		return a, counts
	}
	t.Run("the first time each object is one patch", func(t *testing.T) {
		_, counts := step(t, fleet(t, ns, digestOf("v1"), objects, deployments, replicas))
		require.LessOrEqual(t, counts["all"], objects+10, "%v", counts)
	})
	t.Run("nothing changed costs a handful of requests and no write", func(t *testing.T) {
		a, counts := step(t, fleet(t, ns, digestOf("v1"), objects, deployments, replicas))
		require.False(t, a.Changed())
		require.Zero(t, counts["patch"])
		require.LessOrEqual(t, counts["all"], 6, "%v", counts)
	})
	t.Run("one changed object is one patch", func(t *testing.T) {
		role := fleet(t, ns, digestOf("v1"), objects, deployments, replicas)
		role.Objects[0] = json.RawMessage(strings.Replace(string(role.Objects[0]), `"cpu":"10m"`, `"cpu":"11m"`, 1))
		_, counts := step(t, role)
		require.Equal(t, 1, counts["patch"])
		require.LessOrEqual(t, counts["all"], 11, "%v", counts)
	})
}

// peak is the most memory that this process has had, as Linux tells it.
func peak() string {
	data, err := os.ReadFile(filepath.Join("/proc", "self", "status"))
	if err != nil {
		return "unknown"
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}
