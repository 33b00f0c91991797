package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
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

// requests counts what shipit asked the API server for one user, by the server's audit log.
type requests struct {
	t     *testing.T
	user  *user
	path  string
	from  int              // where the entry of the last mark begins
	began metav1.MicroTime // when the server received that request
	marks int
}

func newRequests(t *testing.T, u *user) *requests {
	require.NotEmpty(t, u.name, "the requests of the administrator are those of several tests")
	r := &requests{t: t, user: u, path: u.auditLog}
	r.since()
	return r
}

// since counts the requests since the last call, by verb: those that the server received
// between two marks. It writes an entry when it has answered, on a busy machine a little
// later than whoever asked goes on: a second mark gives it time.
func (r *requests) since() map[string]int {
	r.t.Helper()
	from, until := r.mark()
	r.mark()
	counts := r.count(r.written(), r.began, until)
	r.from, r.began = from, until
	return counts
}

// mark makes a request that nobody else makes. It returns where its entry begins, and when
// the server received it.
func (r *requests) mark() (at int, received metav1.MicroTime) {
	r.t.Helper()
	r.marks++
	name := fmt.Sprintf("%s-mark-%d", strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(r.t.Name())), r.marks)
	_, err := r.user.kube.CoreV1().ConfigMaps("default").Get(r.t.Context(), name, metav1.GetOptions{})
	require.True(r.t, apierrors.IsNotFound(err), "%v", err)
	require.Eventually(r.t, func() bool {
		text := r.written()
		named := strings.Index(text, `"name":"`+name+`"`)
		if named < 0 || !strings.Contains(text[named:], "\n") {
			return false
		}
		begins := strings.LastIndexByte(text[:named], '\n') + 1
		var e struct{ RequestReceivedTimestamp metav1.MicroTime }
		line, _, _ := strings.Cut(text[begins:], "\n")
		require.NoError(r.t, json.Unmarshal([]byte(line), &e))
		at, received = r.from+begins, e.RequestReceivedTimestamp
		return true
	}, 2*time.Minute, 10*time.Millisecond, "the audit log has no entry of %s", name)
	return at, received
}

// written is what the audit log has had since the last mark.
func (r *requests) written() string {
	r.t.Helper()
	log, err := os.Open(r.path)
	require.NoError(r.t, err)
	defer log.Close()
	_, err = log.Seek(int64(r.from), io.SeekStart)
	require.NoError(r.t, err)
	text, err := io.ReadAll(log)
	require.NoError(r.t, err)
	return string(text)
}

// count counts the entries of an audit log that are shipit's and the user's, by verb, of
// requests that the server received in a time.
func (r *requests) count(text string, from, until metav1.MicroTime) map[string]int {
	counts := map[string]int{}
	for _, line := range strings.Split(text, "\n") {
		var e struct {
			Verb, UserAgent, Stage   string
			ImpersonatedUser         struct{ Username string }
			RequestReceivedTimestamp metav1.MicroTime
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.UserAgent != object.Manager || e.ImpersonatedUser.Username != r.user.name || e.RequestReceivedTimestamp.Before(&from) || until.Before(&e.RequestReceivedTimestamp) {
			continue
		}
		if e.Stage == "ResponseComplete" && e.Verb != "watch" || e.Stage == "ResponseStarted" {
			counts[e.Verb]++
			counts["all"]++
		}
	}
	return counts
}

// TestScale has a cluster of its own: the pods of other tests would wait behind a thousand.
func TestScale(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes a while to come up, and -short is set")
	}
	up, err := cluster.Up(t.Context(), cluster.Options{Audit: true, Nodes: 12})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Down(context.Background())) })
	c := namedIn(t, up)
	log := newRequests(t, c)
	ns := namespace(t, c)
	const objects, deployments, replicas = 500, 200, 5
	silent := applyOptions{}

	step := func(t *testing.T, role release.Role) (apply.Applied, map[string]int) {
		log.since()
		began := time.Now()
		a, err := c.Apply(t.Context(), role, silent)
		require.NoError(t, err)
		applied := time.Since(began)
		live, err := c.Wait(t.Context(), role, a, Options{Timeout: 15 * time.Minute})
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
		require.Equal(t, objects+1, counts["patch"], "%v: and that of the inventory", counts)
		// The slower the pods come, the more of what keeps them is read.
		require.LessOrEqual(t, counts["all"]-counts["patch"], 15, "%v", counts)
	})
	t.Run("nothing changed costs a handful of requests and no write", func(t *testing.T) {
		a, counts := step(t, fleet(t, ns, digestOf("v1"), objects, deployments, replicas))
		require.False(t, changed(a))
		require.Zero(t, counts["patch"])
		require.LessOrEqual(t, counts["all"], 6, "%v", counts)
	})
	t.Run("a comparison costs the same handful, and two dry runs for what a person has changed", func(t *testing.T) {
		role := fleet(t, ns, digestOf("v1"), objects, deployments, replicas)
		compared := func() (apply.Plan, map[string]int) {
			log.since()
			began := time.Now()
			plan, err := c.Diff(t.Context(), role, silent)
			require.NoError(t, err)
			_, err = c.Observe(t.Context(), role)
			require.NoError(t, err)
			counts := log.since()
			t.Logf("compared in %s, requests %v", time.Since(began), counts)
			return plan, counts
		}
		plan, counts := compared()
		require.Empty(t, plan.Changes)
		require.LessOrEqual(t, counts["all"], 6, "%v", counts)
		require.Zero(t, counts["patch"], "%v", counts)
		_, err := c.kube.CoreV1().ConfigMaps(ns).Patch(t.Context(), fmt.Sprintf("c%d", deployments), types.MergePatchType, []byte(`{"data":{"byhand":"1"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
		require.NoError(t, err)
		plan, counts = compared()
		require.Len(t, plan.Changes, 1)
		require.Equal(t, []release.FieldChange{{Path: "data.byhand", Live: "1"}}, plan.Changes[0].Fields)
		require.Equal(t, 2, counts["patch"], "%v", counts)
		a, err := c.Apply(t.Context(), role, silent)
		require.NoError(t, err)
		require.True(t, changed(a))
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
