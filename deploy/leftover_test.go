package deploy_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestNothingIsLeftBehind(t *testing.T) {
	t.Run("a role that the release has no more is taken away", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.NotContains(t, a.target.runs, "worker")
		require.Equal(t, "remove worker", a.target.calls[len(a.target.calls)-1], "after the switch of those that stay")
	})

	t.Run("a rollback takes away what the later release brought", func(t *testing.T) {
		a := shipped(t, "cluster")
		_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.Equal(t, map[string]string{"cluster": oldBits}, a.target.runs)
	})

	t.Run("what cannot be taken away is drift, and no good release", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		a.target.stuck["worker"] = errors.New("a finalizer holds it")
		a.target.runs["worker"] = oldBits
		a.target.switches = func(context.Context, deploy.Step) error { return nil }
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.False(t, record.Parity)
		require.Contains(t, record.Reason, "remove worker of #1 "+oldSHA[:7]+": a finalizer holds it")
	})

	t.Run("what a killed release brought is drift until the next release takes it away", func(t *testing.T) {
		a := shipped(t, "cluster")
		ctx, kill := context.WithCancel(t.Context())
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Name != "worker" {
				return nil
			}
			a.target.runs["worker"] = newBits
			kill()
			return ctx.Err()
		}
		record, err := a.shipWithin(ctx, t, releaseOf(newSHA, oldBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Pending, record.Outcome)

		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.Record.Parity)
		require.Equal(t, release.DriftForeign, status.Record.Drift[0].Kind)
		require.Equal(t, "worker", status.Record.Roles[1].Name)
		require.Equal(t, "left over from #2 "+newSHA[:7], status.Record.Roles[1].Reason)

		a.target.switches = nil
		record, err = a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.NotContains(t, a.target.runs, "worker")
	})

	t.Run("what the configuration keeps stays, and is no drift", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		a.Config.Keep = []string{"worker"}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity)
		require.Equal(t, oldBits, a.target.runs["worker"])
	})
}
