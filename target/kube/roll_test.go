package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
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
