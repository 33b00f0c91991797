package rollout

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/diagnose"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// deployment is a live Deployment of one pod whose rollout of a generation is over.
func deployment(version, generation, observed int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": "any", "uid": "web", "resourceVersion": strconv.FormatInt(version, 10), "generation": generation},
		"spec":     map[string]any{"replicas": int64(1)},
		"status":   map[string]any{"observedGeneration": observed, "replicas": int64(1), "updatedReplicas": int64(1), "availableReplicas": int64(1)},
	}}
}

// applied is the Deployment as an apply that changed it has left it.
func applied(live *unstructured.Unstructured) Object {
	kind := object.Kind{GroupKind: live.GroupVersionKind().GroupKind(), Namespaced: true, Builtin: true}
	return Object{Object: &object.Object{ID: object.IDOf(live), Kind: kind, Body: live}, Live: live, Version: live.GetResourceVersion(), Changed: true}
}

func TestWhatAWatchTellsFromBeforeTheApplyIsIgnored(t *testing.T) {
	r := newRun(nil, []Object{applied(deployment(10, 2, 1))}, Options{})
	done := func() bool {
		done, _, err := r.assessAll()
		require.NoError(t, err)
		return done
	}
	require.False(t, done(), "its controller has not observed the change")
	r.handle(watchEvent{object: deployment(9, 1, 1)})
	require.False(t, done(), "that rollout was over before the apply, and says nothing of the new one")
	r.handle(watchEvent{object: deployment(11, 2, 2)})
	require.True(t, done())
}

func TestWhatIsHeldOfAWatchedObjectIsWhatIsReadOfIt(t *testing.T) {
	live := deployment(10, 2, 1)
	r := newRun(nil, []Object{applied(live)}, Options{})
	told := deployment(11, 2, 1)
	told.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "shipit"}})
	template := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"a": "b"}},
		"spec":     map[string]any{"dnsPolicy": "None", "containers": []any{map[string]any{"name": "web", "image": "web@sha256:1", "args": []any{"x"}}}},
	}
	require.NoError(t, unstructured.SetNestedField(told.Object, template, "spec", "template"))
	r.handle(watchEvent{object: told})
	held := r.tracked[r.order[0]].Live
	require.Equal(t, "11", held.GetResourceVersion())
	require.Empty(t, held.GetManagedFields())
	kept, _, _ := unstructured.NestedMap(held.Object, "spec", "template")
	require.Equal(t, map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": "web@sha256:1"}}}}, kept)

	r.handle(watchEvent{object: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "pod", Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}},
		Spec:       corev1.PodSpec{NodeName: "node", SchedulerName: "other", Containers: []corev1.Container{{Name: "web", Image: "web@sha256:1", Args: []string{"x"}}}},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}})
	require.Equal(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "pod"},
		Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "web", Image: "web@sha256:1"}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}, r.pods["pod"].Pod)
}

func TestWhatAControllerSaidBeforeTheRolloutEndsItOnlyOnceItLasts(t *testing.T) {
	r := newRun(nil, []Object{applied(deployment(10, 2, 2))}, Options{})
	said := func(at time.Time) *tracked {
		tr := r.tracked[r.order[0]]
		tr.history, tr.statusRead = diagnose.NewHistory(), true
		tr.status = diagnose.Status{Cause: &diagnose.Cause{Code: release.CodeDeadlineExceeded, Message: "no progress", At: at}}
		return tr
	}
	stale := time.Duration(diagnose.StaleGrace)
	before := said(r.began.Add(-time.Minute))
	ended, left := r.fatalCause(before, r.began)
	require.Nil(t, ended, "it was said before the rollout")
	require.Equal(t, stale, left)
	ended, _ = r.fatalCause(before, r.began.Add(stale))
	require.NotNil(t, ended)
	ended, _ = r.fatalCause(said(r.began.Add(time.Second)), r.began.Add(time.Second))
	require.NotNil(t, ended, "it was said of this rollout")
}

func TestADeadlineIsNotOverBeforeItsTimeSinceTheApply(t *testing.T) {
	// The controller counts from the last progress of the revision before, and may say so
	// of the new generation just after the apply.
	live := deployment(10, 2, 2)
	require.NoError(t, unstructured.SetNestedField(live.Object, int64(12), "spec", "progressDeadlineSeconds"))
	require.NoError(t, unstructured.SetNestedField(live.Object, int64(0), "status", "availableReplicas"))
	r := newRun(nil, []Object{applied(live)}, Options{})
	require.NoError(t, unstructured.SetNestedSlice(live.Object, []any{map[string]any{
		"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": `ReplicaSet "web-1" has timed out progressing.`,
		"lastUpdateTime": r.began.Add(2 * time.Second).UTC().Format(time.RFC3339),
	}}, "status", "conditions"))
	_, _, err := r.assessAll()
	require.NoError(t, err)
	tr := r.tracked[r.order[0]]
	ended, left := r.fatalCause(tr, r.began.Add(2*time.Second))
	require.Nil(t, ended)
	require.Equal(t, 10*time.Second, left)
	ended, _ = r.fatalCause(tr, r.began.Add(12*time.Second))
	require.NotNil(t, ended, "now it is that of this revision")

	tr.Changed = false
	ended, _ = r.fatalCause(tr, r.began.Add(2*time.Second))
	require.NotNil(t, ended, "of what was not changed it is believed at once")
}

func TestWhatIsSaidOfAnotherReplicaSetEndsNothing(t *testing.T) {
	live := deployment(10, 2, 2)
	live.SetAnnotations(map[string]string{object.RevisionAnnotation: "3"})
	r := newRun(nil, []Object{applied(live)}, Options{})
	r.replicaSets["a"] = replicaSet{name: "web-aaa", controller: "web", revision: "2"}
	r.replicaSets["b"] = replicaSet{name: "web-bbb", controller: "web", revision: "3"}
	tr := r.tracked[r.order[0]]
	tr.statusRead = true
	said := func(set string) *fatal {
		tr.history = diagnose.NewHistory()
		tr.status = diagnose.Status{Cause: &diagnose.Cause{Code: release.CodePodSecurity, At: r.began.Add(time.Second),
			Message: `pods "web-` + set + `-x7k2p" is forbidden: violates PodSecurity "baseline:latest"`}}
		ended, _ := r.fatalCause(tr, r.began.Add(2*time.Second))
		return ended
	}
	require.Nil(t, said("aaa"), "it is of the revision before")
	require.NotNil(t, said("bbb"))
}

func TestAWarningFromBeforeTheApplyEndsTheRolloutOnlyOnceItLasts(t *testing.T) {
	live := deployment(10, 2, 2)
	live.SetKind("StatefulSet")
	require.NoError(t, unstructured.SetNestedField(live.Object, int64(0), "status", "availableReplicas"))
	r := newRun(nil, []Object{applied(live)}, Options{})
	tr := r.tracked[r.order[0]]
	_, _, err := r.assessAll()
	require.NoError(t, err)
	tr.history.Warn(diagnose.Warning{Name: "e", Reason: "FailedCreate", Message: `violates PodSecurity "baseline:latest"`, At: r.began.Add(-500 * time.Millisecond)})
	ended, left := r.fatalCause(tr, r.began)
	require.Nil(t, ended)
	require.Equal(t, time.Duration(diagnose.StaleGrace), left)
	tr.history.Warn(diagnose.Warning{Name: "e", Reason: "FailedCreate", Message: `violates PodSecurity "baseline:latest"`, At: r.began.Add(time.Second)})
	ended, _ = r.fatalCause(tr, r.began.Add(time.Second))
	require.NotNil(t, ended)
}
