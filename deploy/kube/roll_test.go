package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestRoll(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1, v2 := digestOf("v1"), digestOf("v2")

	live, a, err := roll(t, c, roleOf(t, ns, v1, deployment("web", 2), service))
	require.NoError(t, err)
	require.Equal(t, []Result{
		{ID{"apps", "Deployment", ns, "web"}, Created},
		{ID{"", "Service", ns, "web"}, Created},
	}, a.Results)
	require.Equal(t, []string{v1}, live.Digests)
	require.Equal(t, 2, live.Ready)
	require.Equal(t, 2, live.Desired)

	live, a, err = roll(t, c, roleOf(t, ns, v1, deployment("web", 2), service))
	require.NoError(t, err)
	require.False(t, a.Changed(), "%v", a.Results)
	require.Equal(t, []string{v1}, live.Digests)

	live, a, err = roll(t, c, roleOf(t, ns, v2, deployment("web", 2), service))
	require.NoError(t, err)
	require.True(t, a.Changed())
	require.Equal(t, []string{v2}, live.Digests)
	require.Equal(t, 2, live.Ready)
}

func TestWhatAWatchKnowsFromBeforeTheApplyIsNotBelieved(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	v1, v2 := roleOf(t, ns, digestOf("v1"), deployment("web", 1)), roleOf(t, ns, digestOf("v2"), deployment("web", 1))
	_, _, err := roll(t, c, v1)
	require.NoError(t, err)
	before, err := c.Client().AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(before)
	require.NoError(t, err)
	stale := &unstructured.Unstructured{Object: raw}
	stale.SetAPIVersion("apps/v1")
	stale.SetKind("Deployment")

	a, err := c.Apply(t.Context(), v2, options(t))
	require.NoError(t, err)
	w := newWait(c, v2, a, WaitOptions{}, a.objects)
	w.hear(news{object: stale})
	done, _, err := w.judge()
	require.NoError(t, err)
	require.False(t, done, "its rollout was over before the apply, and says nothing of the new one")

	live, err := c.Wait(t.Context(), v2, a, WaitOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{digestOf("v2")}, live.Digests)
}

func TestWaitEndsWithTheLastPod(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	pods, err := c.Client().CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	defer pods.Stop()
	ready := make(chan time.Time, 100)
	go func() {
		for event := range pods.ResultChan() {
			if p, ok := event.Object.(*corev1.Pod); ok && podReady(p) {
				ready <- time.Now()
			}
		}
	}()
	_, _, err = roll(t, c, roleOf(t, ns, digestOf("v1"), deployment("web", 5)))
	require.NoError(t, err)
	ended := time.Now()
	var last time.Time
	for len(ready) > 0 {
		last = <-ready
	}
	t.Logf("the wait ended %s after the last pod was ready", ended.Sub(last))
	// Of this the controllers take most; a busy machine is given time.
	require.Less(t, ended.Sub(last), 500*time.Millisecond)
}
