package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestFailure(t *testing.T) {
	t.Run("of two roles of which the second fails both go back", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.calls, a.target.switches = nil, crash("gateway", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err, "the record tells how it ended")
		require.Equal(t, release.Restored, record.Outcome)
		require.EqualValues(t, 1, record.Restored)
		require.False(t, record.Parity)
		require.Equal(t, "CrashLoop", string(record.Failures[0].Code))
		require.Equal(t, "gateway", record.Failures[0].Role)
		require.Equal(t, []string{"switch cluster " + newBits, "switch gateway " + newBits, "switch cluster " + oldBits, "switch gateway " + oldBits}, a.target.calls)
		require.Equal(t, oldSHA, record.Roles[0].LiveSHA)
	})

	t.Run("a first release that fails has nothing to go back to", func(t *testing.T) {
		a := newApp(t, "cluster")
		a.target.switches = crash("cluster", oldBits)
		record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "there is no earlier good release to restore")
	})

	t.Run("a first release that fails is undone by the targets", func(t *testing.T) {
		a := newApp(t, "cluster", "host", "gateway")
		a.target.switches = crash("host", oldBits)
		record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "host", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, a.target.calls, "undo cluster")
		require.Contains(t, a.target.calls, "undo host")
		require.NotContains(t, a.target.calls, "undo gateway", "its switch never began")
	})

	t.Run("after a restore the roles tell what runs again", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.switches = crash("gateway", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		for _, r := range record.Roles {
			require.Equal(t, oldBits, r.LiveDigest)
			require.Equal(t, oldBits, r.Wanted, "the target is told to run what it ran before")
			require.Equal(t, oldSHA, r.LiveSHA)
			require.Equal(t, "1/1", fmt.Sprintf("%d/%d", r.Ready, r.Desired))
			require.False(t, r.InParity)
		}
		require.Equal(t, "#1 01d0000 runs again", record.Roles[0].Reason)
		require.Contains(t, record.Roles[1].Reason, "CrashLoop")
	})

	t.Run("what only the failed release has is taken away", func(t *testing.T) {
		a := newApp(t, "cluster", "worker")
		_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		a.target.switches = crash("worker", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.Contains(t, a.target.calls, "remove worker")
	})

	t.Run("a restore that fails leaves the record failed, and puts the other roles back", func(t *testing.T) {
		a := shipped(t, "cluster", "host", "gateway")
		a.target.calls = nil
		a.target.switches = func(_ context.Context, s deploy.Step) error {
			if s.Role.Name == "gateway" && s.Role.Digest == newBits || s.Role.Name == "cluster" && s.Role.Digest == oldBits {
				return errors.New("no")
			}
			return nil
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "host", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "gateway: no; restore cluster: no")
		require.Equal(t, oldBits, a.target.runs["host"])
		require.Equal(t, oldBits, a.target.runs["gateway"])
		require.Equal(t, []string{"switch cluster " + oldBits, "switch host " + oldBits, "switch gateway " + oldBits}, a.target.calls[3:])
	})

	t.Run("with NoRestore it stays as it is", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.switches = crash("cluster", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{NoRestore: true})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Equal(t, "switch cluster "+newBits, a.target.calls[len(a.target.calls)-1])
	})

	t.Run("the limit of the rollout is the cause where a role has none of its own", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.Timeout = 2 * time.Second // what is put back has it too
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Digest == oldBits {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		require.Equal(t, "TimedOut", string(record.Failures[0].Code))
	})
}
