package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestBackFromABrokenRevision(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for _, kind := range []string{"StatefulSet", "DaemonSet", "Deployment"} {
		t.Run("a "+kind+" with broken pods goes back to what ran before", func(t *testing.T) {
			ns := namespace(t, c)
			good := roleOf(t, ns, digestOf("good"), workload(kind))
			broken := roleOf(t, ns, digestOf("broken"), strings.Replace(workload(kind), "image: $IMAGE", "image: $IMAGE, env: [{name: FIXTURE_FAULT, value: crash}]", 1))
			_, _, err := roll(t, c, good)
			require.NoError(t, err)
			f, _ := fail(t, c, broken, 2*time.Minute)
			require.Equal(t, release.CodeCrashLoop, f.Code)
			live, _, err := roll(t, c, good)
			require.NoError(t, err)
			require.Equal(t, []string{good.Digest}, live.Digests)
			require.Equal(t, live.Desired, live.Ready)
		})
	}
}

func TestSHAMovedBitsEqual(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ns := namespace(t, c)
	at := func(sha string) release.Role {
		doc := strings.Replace(deployment("web", 2), "namespace: $NS,", "namespace: $NS, annotations: {shipit.dev/sha: "+sha+"},", 1)
		return roleOf(t, ns, digestOf("v1"), doc)
	}
	_, _, err := roll(t, c, at("one"))
	require.NoError(t, err)
	before := podUIDs(t, c, ns)
	require.Len(t, before, 2)
	live, a, err := roll(t, c, at("two"))
	require.NoError(t, err)
	require.Equal(t, release.ActionConfigured, a.Results[0].Action)
	require.Equal(t, 2, live.Ready)
	require.Equal(t, before, podUIDs(t, c, ns), "no pod was started again")
}
