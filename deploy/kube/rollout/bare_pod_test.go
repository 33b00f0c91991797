package rollout

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// barePod is a live Pod that wants one image and runs another, or the same.
func barePod(version int64, wanted, runs, containerID string) *unstructured.Unstructured {
	digest := func(c string) string { return "@sha256:" + strings.Repeat(c, 64) }
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "web", "namespace": "any", "uid": "web", "resourceVersion": strconv.FormatInt(version, 10)},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "main", "image": "r/app" + digest(wanted)}}},
		"status": map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
			"containerStatuses": []any{map[string]any{"name": "main", "ready": true, "imageID": "r/app" + digest(runs), "containerID": containerID, "state": map[string]any{"running": map[string]any{}}}}},
	}}
}

func TestABarePodIsReadyOnceItRunsItsNewImage(t *testing.T) {
	for name, tc := range map[string]struct {
		next *unstructured.Unstructured
		done bool
	}{
		"the old container still runs":                            {barePod(11, "b", "a", "one"), false},
		"the runtime reports the new image":                       {barePod(11, "b", "b", "two"), true},
		"it was restarted, and its image has a digest of its own": {barePod(11, "b", "c", "two"), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(nil, []Object{applied(barePod(10, "b", "a", "one"))}, Options{})
			done, _, err := r.assessAll()
			require.NoError(t, err)
			require.False(t, done, "what ran before the apply says nothing of it")
			require.Contains(t, r.tracked[r.order[0]].status.Missing, "main")
			r.handle(watchEvent{object: tc.next})
			done, _, err = r.assessAll()
			require.NoError(t, err)
			require.Equal(t, tc.done, done)
		})
	}
	t.Run("and one that is not restarted is not waited for without end", func(t *testing.T) {
		r := newRun(nil, []Object{applied(barePod(10, "b", "a", "one"))}, Options{})
		r.began = r.began.Add(-time.Duration(imageGrace))
		done, _, err := r.assessAll()
		require.NoError(t, err)
		require.True(t, done, "the comparison after it says what it runs")
	})
	t.Run("and one that was not changed is as it is", func(t *testing.T) {
		same := applied(barePod(10, "b", "a", "one"))
		same.Changed = false
		done, _, err := newRun(nil, []Object{same}, Options{}).assessAll()
		require.NoError(t, err)
		require.True(t, done)
	})
}
