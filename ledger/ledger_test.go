package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestWhatIsSealedIsReadBackAndChained(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		none, err := l.View(t.Context(), 1)
		require.NoError(t, err)
		require.Empty(t, none.Entries)

		lock := take(t, l)
		first := settled(t, l, lock, 1)
		second, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(2), Attachments: map[string][]byte{"worker.bundle": {0xff, 0x00}, "note.txt": []byte("text")}})
		require.NoError(t, err)
		begun := second.Record
		require.Equal(t, int64(2), begun.Seq)
		require.Equal(t, int64(1), begun.Previous)
		require.Equal(t, lock.Fence, begun.Fence)

		view, err := l.View(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, begun, view.Entries[0].Record)
		require.False(t, view.Entries[0].Sealed)

		begun.Outcome, begun.Reason = release.Failed, "the gateway never got healthy"
		require.NoError(t, seal(t.Context(), l, second, begun))

		entry, err := l.Read(t.Context(), 2)
		require.NoError(t, err)
		require.True(t, entry.Sealed)
		require.Equal(t, begun, entry.Record)
		require.Equal(t, version(2).Roles[0].Objects, entry.Objects["cluster"])
		require.Equal(t, version(2).Roles, entry.Release().Roles)
		require.Equal(t, map[string][]byte{"worker.bundle": {0xff, 0x00}, "note.txt": []byte("text")}, entry.Attachments)

		before, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(before.Raw)), entry.Record.PreviousHash)

		list, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Equal(t, []release.Record{begun, first}, list)

		view, err = l.View(t.Context(), 5)
		require.NoError(t, err)
		require.Len(t, view.Entries, 2)
		current, ok := release.Current(view.Records())
		require.True(t, ok)
		require.Equal(t, first, current, "a failed release is not what should run")
		requireWhole(t, l)

		_, err = l.Read(t.Context(), 7)
		var missing *ledger.MissingError
		require.ErrorAs(t, err, &missing)
	})
}

func TestASealedRecordCannotBeWrittenAgain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock := take(t, l)
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		require.NoError(t, seal(t.Context(), l, begun, rec))
		require.NoError(t, seal(t.Context(), l, begun, rec), "the same outcome twice is an answer that was lost")

		rec.Outcome = release.Failed
		var conflict *ledger.ConflictError
		require.ErrorAs(t, seal(t.Context(), l, begun, rec), &conflict)

		sealed, err := p.store.Read(t.Context(), "000001")
		require.NoError(t, err)
		require.True(t, sealed.Sealed)
		version, err := p.store.Swap(t.Context(), ledger.StoredEntry{Name: "000001", Version: sealed.Version, Parts: map[string][]byte{"record": []byte("{}")}})
		require.NoError(t, err)
		require.Empty(t, version)
		again, err := p.store.Read(t.Context(), "000001")
		require.NoError(t, err)
		require.Equal(t, sealed, again)
	})
}

func TestEightRunsAtOnceEachGetTheirNumber(t *testing.T) {
	const runs, each = 8, 2
	onEveryStore(t, func(t *testing.T, p place) {
		var all sync.WaitGroup
		errs := make([]error, runs)
		for run := range runs {
			all.Go(func() {
				l := ledger.New(p.store, app, ledger.Options{})
				for i := range each {
					errs[run] = errors.Join(errs[run], shipOnce(t.Context(), l, run*each+i+1))
				}
			})
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))

		l := ledger.New(p.store, app, ledger.Options{})
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, records, runs*each)
		var shas []string
		for i, rec := range slices.Backward(records) {
			require.Equal(t, int64(len(records)-i), rec.Seq)
			require.Equal(t, release.Settled, rec.Outcome)
			require.Equal(t, rec.Seq, rec.Fence, "each run held the lock once for each record")
			shas = append(shas, rec.SHA)
		}
		slices.Sort(shas)
		require.Len(t, slices.Compact(shas), runs*each)
		requireWhole(t, l)
	})
}

func shipOnce(ctx context.Context, l *ledger.Ledger, n int) error {
	lock, err := l.Lock(ctx, ledger.LockOptions{Wait: time.Hour, TTL: time.Minute})
	if err != nil {
		return err
	}
	begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(n)})
	if err != nil {
		return err
	}
	rec := begun.Record
	rec.Outcome, rec.Parity = release.Settled, true
	return errors.Join(seal(ctx, l, begun, rec), lock.Unlock(ctx))
}

func TestAnOutcomeIsKeptAfterTheUserGaveUp(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		ctx, interrupt := context.WithCancel(t.Context())
		lock, err := l.Lock(ctx, ledger.LockOptions{TTL: heard})
		require.NoError(t, err)
		begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		interrupt()

		// The lock must outlive the interrupt: its heartbeat goes on.
		renewed := renewals(t, p.store)
		require.Eventually(t, func() bool { return renewals(t, p.store) != renewed }, time.Minute, 20*time.Millisecond)
		rec.Reason = "interrupted: role cluster was waiting"
		require.Error(t, seal(ctx, l, begun, rec))
		require.NoError(t, seal(context.WithoutCancel(ctx), l, begun, rec))
		require.NoError(t, lock.Unlock(ctx))

		second := take(t, l)
		settled(t, l, second, 2)
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Equal(t, release.Pending, records[1].Outcome)
		require.Equal(t, "interrupted: role cluster was waiting", records[1].Reason)
		requireWhole(t, l)
	})
}

func renewals(t *testing.T, store ledger.Store) string {
	t.Helper()
	held, err := store.ReadLock(t.Context())
	require.NoError(t, err)
	return held.Fields["renewed"]
}

func TestAReleaseThatDoesNotFitIsRefusedAndAnAutopsyIsCutShort(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock := take(t, l)
		big := version(1)
		big.Roles[0].Objects = []json.RawMessage{json.RawMessage(`"` + strings.Repeat("x", 64<<20) + `"`)}
		_, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: big})
		var size *ledger.SizeError
		require.ErrorAs(t, err, &size)
		_, err = l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1), Attachments: map[string][]byte{"a/b": nil}})
		require.ErrorContains(t, err, `attachment "a/b"`)

		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		require.Equal(t, int64(1), rec.Seq, "a refused one takes no number")
		rec.Outcome = release.Failed
		rec.Failures = []*release.Failure{{Role: "cluster", Code: release.CodeCrashLoop, Log: []string{strings.Repeat("x", 2<<20)}}}
		require.NoError(t, seal(t.Context(), l, begun, rec))
		entry, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, release.Failed, entry.Record.Outcome)
		require.Equal(t, release.CodeCrashLoop, entry.Record.Failures[0].Code)
		require.Len(t, rec.Failures[0].Log[0], 2<<20, "the caller's record stays whole")
	})
}
