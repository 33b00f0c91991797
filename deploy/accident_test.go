package deploy_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestAccidents(t *testing.T) {
	t.Run("an interrupted release stays pending, and the next one seals it and goes on", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		ctx, interrupt := context.WithCancel(t.Context())
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Name == "gateway" && s.Role.Digest == newBits {
				interrupt()
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		record, err := a.shipWithin(ctx, t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Pending, record.Outcome)
		require.Contains(t, record.Reason, "interrupted: while switching gateway (0/0 ready), role 2 of 2")

		a.target.switches = nil
		record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.EqualValues(t, 3, record.Seq)
	})

	for name, c := range map[string]struct {
		runs     string // what is found of the interrupted release
		restored int64
		outcome  release.Outcome // of the interrupted release
	}{
		"a release that was live everywhere and only not sealed becomes good": {newBits, 2, release.Settled},
		"a release that was interrupted half way is pending, and stays that":  {oldBits, 1, release.Pending},
	} {
		t.Run(name, func(t *testing.T) {
			a := shipped(t, "cluster")
			a.kill(t, releaseOf(newSHA, newBits, "cluster"))
			a.target.runs["cluster"] = c.runs

			const otherBits = "sha256:ba5e"
			a.target.switches = crash("cluster", otherBits)
			record, err := a.ship(t, releaseOf("ba5e000ba5e000ba5e000ba5e000ba5e000ba5e0", otherBits, "cluster"), deploy.Terms{})
			require.NoError(t, err)
			require.Equal(t, release.Restored, record.Outcome, record.Reason)
			require.Equal(t, c.restored, record.Restored)
			interrupted, err := a.Ledger.Read(t.Context(), 2)
			require.NoError(t, err)
			require.Equal(t, c.outcome, interrupted.Record.Outcome)
			require.EqualValues(t, 3, record.Seq)
		})
	}

	t.Run("a rollback over what was interrupted goes to the good release under it", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.kill(t, releaseOf(newSHA, newBits, "cluster"))
		a.target.runs["cluster"] = newBits
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 1, record.Origin)
		require.Equal(t, oldBits, a.target.runs["cluster"])
	})

	t.Run("a lock that is held ends a release before anything is changed", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.calls = nil
		other := ledger.New(a.store, "bus", ledger.Options{})
		lock, err := other.Lock(t.Context(), ledger.LockOptions{Holder: "another"})
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Unlock(context.WithoutCancel(t.Context()))) }()
		_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		require.Empty(t, a.target.calls)
	})

	t.Run("a lock that is lost ends the roll, and nothing is put back without it", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.calls = nil
		a.target.switches = func(ctx context.Context, _ deploy.Step) error {
			held, err := a.store.ReadLock(ctx)
			require.NoError(t, err)
			held.Fields = map[string]string{"holder": "another", "fence": "99", "head": "2", "ttl": "1m"}
			swapped, err := a.store.SwapLock(ctx, held)
			require.NoError(t, err)
			require.NotEmpty(t, swapped)
			<-ctx.Done()
			return ctx.Err()
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.Error(t, err, "the outcome is another run's to keep")
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "the lock was")
		require.Equal(t, []string{"switch cluster " + newBits}, a.target.calls)
	})
}

// kill leaves the trace of a run that has begun a release and did not come back.
func (a *app) kill(t *testing.T, rel release.Release) {
	t.Helper()
	lock, err := a.Ledger.Lock(t.Context(), ledger.LockOptions{})
	require.NoError(t, err)
	_, err = a.Ledger.Begin(t.Context(), lock, ledger.PendingRecord{Release: rel})
	require.NoError(t, err)
	require.NoError(t, lock.Unlock(t.Context()))
}
