package deploy_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestWhatAnotherRunReleasedBeforeTheLockIsRestored(t *testing.T) {
	a := shipped(t, "cluster")
	before, err := a.Read(t.Context())
	require.NoError(t, err)
	const middleSHA, middleBits = "3300000133000001330000013300000133000001", "sha256:333"
	_, err = a.ship(t, releaseOf(middleSHA, middleBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)

	// A run that had read the ledger before has waited for its turn, and fails.
	a.target.switches = crash("cluster", newBits)
	record, err := a.Release(t.Context(), releaseOf(newSHA, newBits, "cluster"), deploy.Terms{History: before})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.EqualValues(t, 2, record.Restored)
	require.Equal(t, middleBits, a.target.runs["cluster"])
}

func TestOneThatWaitsForTheLockTakesItInItsTurn(t *testing.T) {
	a := shipped(t, "cluster")
	started, goOn := make(chan struct{}), make(chan struct{})
	a.target.switches = func(_ context.Context, step deploy.Step) error {
		if step.Release.SHA == newSHA {
			close(started)
			<-goOn
		}
		return nil
	}
	first := make(chan error, 1)
	go func() {
		_, err := a.Release(t.Context(), releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		first <- err
	}()
	<-started
	second := *a
	second.Lock.Wait = time.Hour
	ended := make(chan error, 1)
	go func() {
		record, err := second.Rollback(t.Context(), "1", deploy.Terms{})
		if err == nil {
			require.EqualValues(t, 3, record.Seq)
		}
		ended <- err
	}()
	close(goOn)
	require.NoError(t, <-first)
	require.NoError(t, <-ended)
	require.Equal(t, oldBits, a.target.runs["cluster"])
}
