package rollout

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/release"
)

func TestAPodThatAFinalizerKeepsIsNamedAtTheTimeout(t *testing.T) {
	live := deployment(10, 2, 2)
	live.SetKind("StatefulSet")
	require.NoError(t, unstructured.SetNestedField(live.Object, int64(0), "status", "availableReplicas"))
	for name, tc := range map[string]struct {
		finalizers    []string
		message, hint string
	}{
		"by a finalizer": {[]string{"example.com/backup"}, "Pod any/web-0 is being deleted and kept by the finalizer example.com/backup", "finalizer"},
		"by its node":    {nil, "Pod any/web-0 is being deleted, and its node n1 has not confirmed it", "--force"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(nil, []Object{applied(live)}, Options{})
			r.pods["pod"] = &pod{from: &watcher{}, history: diagnose.NewHistory(), Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "any", Name: "web-0", UID: "pod", DeletionTimestamp: &metav1.Time{Time: r.began.Add(-time.Minute)}, Finalizers: tc.finalizers}, Spec: corev1.PodSpec{NodeName: "n1"}}}
			r.controlled["web"] = map[types.UID]bool{"pod": true}
			_, _, err := r.assessAll()
			require.NoError(t, err)
			require.Contains(t, r.missing(r.tracked[r.order[0]]), tc.message)
			ctx, cancel := context.WithDeadline(t.Context(), time.Now())
			defer cancel()
			var f *release.Failure
			require.ErrorAs(t, r.timedOut(ctx), &f)
			require.Equal(t, release.CodeDeadlineExceeded, f.Code)
			require.Contains(t, f.Message, tc.message)
			require.Contains(t, f.Hint, tc.hint)
			require.NotContains(t, f.Hint, "--timeout")
		})
	}
	t.Run("and not while it has time to end", func(t *testing.T) {
		r := newRun(nil, []Object{applied(live)}, Options{})
		r.pods["pod"] = &pod{from: &watcher{}, history: diagnose.NewHistory(), Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: "web-0", UID: "pod", DeletionTimestamp: &metav1.Time{Time: time.Now().Add(time.Minute)}}}}
		r.controlled["web"] = map[types.UID]bool{"pod": true}
		_, _, err := r.assessAll()
		require.NoError(t, err)
		require.NotContains(t, r.missing(r.tracked[r.order[0]]), "is being deleted")
	})
}
