package deploy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestARepairPutsBackWhatDiffersAndNothingElse(t *testing.T) {
	a := shipped(t, "cluster", "gateway")
	a.target.calls = nil
	status, err := a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, status.Record.Parity)
	require.Empty(t, status.Repaired)
	require.Empty(t, a.target.calls, "nothing differs, and nothing is written")
	require.True(t, a.target.whole, "content is read byte by byte")

	a.target.runs["gateway"] = newBits
	status, err = a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, status.Record.Parity)
	require.Equal(t, []string{"gateway"}, status.Repaired)
	require.Equal(t, []string{"switch gateway " + oldBits}, a.target.calls)
	records, err := a.Ledger.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 1, "what should run is what ran")
}

func TestARepairTakesAwayWhatAFailedReleaseLeft(t *testing.T) {
	a := shipped(t, "cluster")
	a.target.switches = crash("worker", newBits)
	_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{NoRestore: true})
	require.NoError(t, err)
	a.target.runs["worker"] = newBits
	status, err := a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, status.Record.Parity)
	require.Equal(t, map[string]string{"cluster": oldBits}, a.target.runs)
}

func TestARepairIsRefusedBeforeItChangesAnything(t *testing.T) {
	drifted := func(t *testing.T) *app {
		a := shipped(t, "cluster")
		a.target.runs["cluster"], a.target.calls = newBits, nil
		return a
	}
	t.Run("while another run holds the lock", func(t *testing.T) {
		a := drifted(t)
		lock, err := a.Ledger.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute})
		require.NoError(t, err)
		_, err = a.Repair(t.Context(), deploy.Terms{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		require.NoError(t, lock.Unlock(t.Context()))
		require.Empty(t, a.target.calls)
	})
	t.Run("by the policy", func(t *testing.T) {
		a := drifted(t)
		a.Policy.Verify = func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error) {
			return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("nobody signed it")}
		}
		_, err := a.Repair(t.Context(), deploy.Terms{})
		var refusal *release.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Empty(t, a.target.calls)
	})
	t.Run("by what is asked of a role and cannot be", func(t *testing.T) {
		for _, faulty := range []config.Role{{Probe: &config.Probe{Path: "/", Expect: []string{"no expression"}}}, {Register: &config.Register{}}} {
			a := drifted(t)
			faulty.Name, faulty.Port = "cluster", 3111
			a.Config.Roles[0] = faulty
			_, err := a.Repair(t.Context(), deploy.Terms{})
			var refusal *release.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Empty(t, a.target.calls)
		}
	})
	t.Run("where nothing was released, or nothing is good", func(t *testing.T) {
		a := newApp(t, "cluster")
		_, err := a.Repair(t.Context(), deploy.Terms{})
		var nothing *deploy.NothingReleasedError
		require.ErrorAs(t, err, &nothing)
		a.target.switches = crash("cluster", oldBits)
		_, err = a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		_, err = a.Repair(t.Context(), deploy.Terms{})
		var good *deploy.NothingGoodError
		require.ErrorAs(t, err, &good)
	})
}

func TestARepairThatFailsSaysWhatItHasDone(t *testing.T) {
	a := shipped(t, "cluster", "gateway")
	a.target.runs["cluster"], a.target.runs["gateway"] = newBits, newBits
	a.target.switches = crash("gateway", oldBits)
	_, err := a.Repair(t.Context(), deploy.Terms{})
	var failed *deploy.RepairError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, []string{"cluster"}, failed.Repaired)
	var failure *release.Failure
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "gateway", failure.Role)
	a.target.switches = nil
	status, err := a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, []string{"gateway"}, status.Repaired, "the next one goes on")
}

func TestStatusTellsWhereWhatRunsComesFrom(t *testing.T) {
	a := shipped(t, "cluster", "gateway")
	_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	a.target.runs["gateway"] = oldBits
	delete(a.target.runs, "cluster")
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Nil(t, status.Record.Roles[0].Source, "nothing runs")
	source := status.Record.Roles[1].Source
	require.Equal(t, oldBits, source.Digest)
	require.EqualValues(t, 1, *source.Release, "the release that brought it")
	a.target.runs["gateway"] = newBits
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, *status.Record.Roles[1].Source.Release)
	a.target.runs["gateway"] = "path:/root/Code/clone"
	status, err = a.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Record.Roles[1].Source.Digest)
	require.Nil(t, status.Record.Roles[1].Source.Release)
}
