package kube

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

func TestRoll(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	v1, v2 := digestOf("v1"), digestOf("v2")

	live, a, err := roll(t, c, roleOf(t, ns, v1, deployment("web", 2), service))
	require.NoError(t, err)
	require.Equal(t, []string{"Deployment " + ns + "/web created", "Service " + ns + "/web created"}, results(a))
	require.Equal(t, []string{v1}, live.Digests)
	require.Equal(t, 2, live.Ready)
	require.Equal(t, 2, live.Desired)

	live, a, err = roll(t, c, roleOf(t, ns, v1, deployment("web", 2), service))
	require.NoError(t, err)
	require.False(t, changed(a), "%v", a.Results)
	require.Equal(t, []string{v1}, live.Digests)

	live, a, err = roll(t, c, roleOf(t, ns, v2, deployment("web", 2), service))
	require.NoError(t, err)
	require.True(t, changed(a))
	require.Equal(t, []string{v2}, live.Digests)
	require.Equal(t, 2, live.Ready)
}

func TestWaitEndsWithTheLastPod(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	pods, err := c.kube.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	defer pods.Stop()
	ready := make(chan time.Time, 100)
	go func() {
		for event := range pods.ResultChan() {
			if p, ok := event.Object.(*corev1.Pod); ok && object.PodReady(p) {
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
	require.Less(t, ended.Sub(last), 3*time.Second)
}
