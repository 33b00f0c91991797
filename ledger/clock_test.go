package ledger_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// A wall clock that is set, by hand or by NTP, neither ends a lock nor makes it
// younger, and the records stay whole.
func TestAClockThatIsSetDuringARunLosesNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		var set atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
		l := ledger.New(&elsewhere{Store: p.store}, app, ledger.Options{Now: now})
		other := ledger.New(p.store, app, ledger.Options{})
		for n, by := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
			set.Store(0)
			lock, err := l.Lock(t.Context(), ledger.LockOptions{Holder: "ci", TTL: heard})
			require.NoError(t, err)
			begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(n + 1)})
			require.NoError(t, err)
			set.Store(int64(by))
			require.NoError(t, lock.Check(t.Context()))
			_, err = other.Lock(t.Context(), ledger.LockOptions{})
			var held *ledger.HeldError
			require.ErrorAs(t, err, &held, "set by %s", by)
			record := begun.Record
			record.Outcome, record.Parity = release.Settled, true
			_, err = l.Seal(t.Context(), begun, record)
			require.NoError(t, err, "set by %s", by)
			require.NoError(t, lock.Unlock(t.Context()))
		}
		faults, err := other.Verify(t.Context(), 0)
		require.NoError(t, err)
		require.Empty(t, faults)
	})
}
