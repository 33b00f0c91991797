package kube

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/kube/preflight"
	"github.com/joelhooks/shipit/release"
)

// target is that of an app with the role web in a namespace, and the role host elsewhere.
func target(t *testing.T, c *user, ns string) *Target {
	t.Helper()
	cfg := config.Config{Path: "shipit.yaml", App: "test", Roles: config.Roles{
		{Name: "host", Host: &config.Host{}}, {Name: "web", Stable: briefly, Kubernetes: &config.Kubernetes{Namespace: ns}},
	}}
	opened, err := Open(t.Context(), cfg, Options{Kubeconfig: c.kubeconfig, Timeout: time.Minute, Progress: progress(t)})
	require.NoError(t, err)
	return opened
}

func TestTarget(t *testing.T) {
	t.Parallel()
	c := named(t)
	ns := namespace(t, c)
	target := target(t, c, ns)
	step := func(digest string) deploy.Step {
		role := roleOf(t, ns, digestOf(digest), deployment("web", 1), service)
		return deploy.Step{Release: release.Release{App: "test", Seq: 7, SHA: "1234567890", Roles: []release.Role{role}}, Role: role}
	}
	v1, v2 := step("v1"), step("v2")
	live, err := target.Switch(t.Context(), v1)
	require.NoError(t, err)
	require.Equal(t, []string{v1.Role.Digest}, live.Digests)

	t.Run("what the preflight read is used once, and not read again", func(t *testing.T) {
		checked, err := target.Preflight(t.Context(), v2.Release, v2.Release.Roles, false)
		require.NoError(t, err)
		require.Empty(t, checked.Findings)
		v2 := v2
		v2.Snapshot = checked.Snapshot
		log := newRequests(t, c)
		seen, err := target.Compare(t.Context(), v2)
		require.NoError(t, err)
		require.Empty(t, seen.Findings)
		require.Len(t, seen.Changes, 1)
		require.Equal(t, release.ActionConfigured, seen.Changes[0].Action)
		require.Equal(t, "Deployment "+ns+"/web", seen.Changes[0].Object)
		require.Equal(t, []string{v1.Role.Digest}, seen.Live.Digests)
		require.Equal(t, 2, log.since()["list"], "of the pods, and of those that the Service selects")

		live, err := target.Switch(t.Context(), v2)
		require.NoError(t, err)
		require.Equal(t, []string{v2.Role.Digest}, live.Digests)
		require.Equal(t, 1, log.since()["patch"], "the Service is known to be unchanged")
		_, known := v2.Snapshot.(*preflight.Snapshot).State(v2.Role)
		require.False(t, known, "the cluster has something else now")
	})
	t.Run("what it has switched is there, and is no drift", func(t *testing.T) {
		seen, err := target.Compare(t.Context(), v2)
		require.NoError(t, err)
		require.Equal(t, 1, seen.Live.Ready)
		require.True(t, seen.Present)
		require.Empty(t, seen.Changes)
	})
	t.Run("the time limit of the caller ends it with the caller's cause", func(t *testing.T) {
		limit := &release.Failure{Code: release.CodeTimedOut, Message: "no end"}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Nanosecond, limit)
		defer cancel()
		_, err := target.Switch(ctx, v1)
		require.Equal(t, limit, err)
	})
	t.Run("a role that the configuration does not place in Kubernetes has all that it needs in its record", func(t *testing.T) {
		for _, name := range []string{"gone", "host"} {
			other := v1
			other.Role = roleOf(t, ns, digestOf("v1"), deployment(name, 1))
			other.Role.Name = name
			other.Release.Roles = []release.Role{other.Role}
			checked, err := target.Preflight(t.Context(), other.Release, other.Release.Roles, false)
			require.NoError(t, err)
			require.Empty(t, checked.Findings)
			live, err := target.Switch(t.Context(), other)
			require.NoError(t, err)
			require.Equal(t, 1, live.Ready)
			seen, err := target.Compare(t.Context(), other)
			require.NoError(t, err)
			require.True(t, seen.Present)
			require.Empty(t, seen.Changes)
			require.NoError(t, target.Remove(t.Context(), other.Role, v1.Release))
			seen, err = target.Compare(t.Context(), other)
			require.NoError(t, err)
			require.False(t, seen.Present)
		}
	})
}
