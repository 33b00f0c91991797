package deploy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestARunMovesOldRecordsToTheRegistryUnderItsLock(t *testing.T) {
	a := newApp(t, "cluster")
	a.Ledger = ledger.New(a.store, "bus", ledger.Options{Mirror: &memoryMirror{copies: map[string]map[string][]byte{}}})
	lock, err := a.Ledger.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
	require.NoError(t, err)
	for n := range 263 {
		rel := releaseOf(oldSHA, oldBits, "cluster")
		if n == 2 {
			rel = releaseOf(newSHA, newBits, "cluster")
		}
		begun, err := a.Ledger.Begin(t.Context(), lock, ledger.PendingRecord{Release: rel})
		require.NoError(t, err)
		record := begun.Record
		record.Outcome, record.Parity = release.Settled, true
		_, err = a.Ledger.Seal(t.Context(), begun, record)
		require.NoError(t, err)
	}
	require.NoError(t, lock.Unlock(t.Context()))

	record, err := a.ship(t, releaseOf(newSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.EqualValues(t, 264, record.Seq)
	names, err := a.store.Names(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, names, 200)
	require.Equal(t, "000065", slices.Min(names))

	record, err = a.Rollback(t.Context(), "3", deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, newBits, a.target.runs["cluster"])
	require.EqualValues(t, 3, record.Origin)
	record, err = a.Rollback(t.Context(), newSHA[:7], deploy.Terms{})
	require.NoError(t, err, "the newest of that commit")
	require.EqualValues(t, 3, record.Origin, "it was rolled out again")
	_, err = a.Rollback(t.Context(), "#999", deploy.Terms{})
	var none *release.NoneError
	require.ErrorAs(t, err, &none)
	status, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Record.Drift)
}
