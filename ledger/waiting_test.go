package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// waits asks for the lock for a commit of that age, and tells how that ended.
//
// Its TTL is short, as it is long until one that is gone counts as gone. The lock
// that is waited for has a long one: nothing may take it on a busy machine.
func waits(ctx context.Context, l *ledger.Ledger, order int64) <-chan error {
	ended := make(chan error, 1)
	go func() {
		lock, err := l.Lock(ctx, ledger.LockOptions{Wait: time.Hour, TTL: 1500 * time.Millisecond, What: fmt.Sprint("commit ", order), Order: order})
		if err == nil {
			err = lock.Unlock(ctx)
		}
		ended <- err
	}()
	return ended
}

func TestANewerReleaseThatWaitsSupersedesAnOlderOne(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		working, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute, What: "commit 1", Order: 1})
		require.NoError(t, err)
		older := waits(t.Context(), l, 5)
		require.Eventually(t, func() bool { return waiting(t, p.store) != "" }, time.Minute, 5*time.Millisecond)
		newer := waits(t.Context(), l, 9)
		var superseded *ledger.SupersededError
		require.ErrorAs(t, <-older, &superseded)
		require.Equal(t, "commit 9", superseded.By)
		require.ErrorAs(t, <-waits(t.Context(), l, 7), &superseded, "it comes later and is older")
		require.NoError(t, working.Held(), "who has begun goes on")
		require.NoError(t, working.Unlock(t.Context()))
		require.NoError(t, <-newer)
		require.Empty(t, waiting(t, p.store))
	})
}

func waiting(t *testing.T, store ledger.Store) string {
	t.Helper()
	stored, err := store.ReadLock(t.Context())
	require.NoError(t, err)
	return stored.Fields["waiting"]
}

func TestOneThatWaitsEndsWhenANewerOneHasBegun(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		_, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute, What: "commit 9", Order: 9})
		require.NoError(t, err)
		var superseded *ledger.SupersededError
		require.ErrorAs(t, <-waits(t.Context(), l, 5), &superseded)
		require.Equal(t, "commit 9", superseded.By)
	})
}

func TestARollbackThatWaitsIsNotSuperseded(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		working, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute, What: "commit 9", Order: 9})
		require.NoError(t, err)
		back := waits(t.Context(), l, 0)
		select {
		case err := <-back:
			require.Failf(t, "it must wait", "%v", err)
		case <-time.After(300 * time.Millisecond):
		}
		require.NoError(t, working.Unlock(t.Context()))
		require.NoError(t, <-back)
	})
}

func TestOneThatWaitedAndIsGoneSupersedesNobody(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		working, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Minute})
		require.NoError(t, err)
		gone, stop := context.WithCancel(t.Context())
		newer := waits(gone, l, 99)
		require.Eventually(t, func() bool { return waiting(t, p.store) != "" }, time.Minute, 5*time.Millisecond)
		stop()
		require.ErrorIs(t, <-newer, context.Canceled)

		older := waits(t.Context(), l, 5)
		time.AfterFunc(2*time.Second, func() { _ = working.Unlock(context.Background()) })
		require.NoError(t, <-older)
	})
}

func TestTwentyReleasesAtOnce(t *testing.T) {
	const runs = 20
	onEveryStore(t, func(t *testing.T, p place) {
		// One that comes when the newest has ended already is superseded by nobody.
		working, err := ledger.New(p.store, app, ledger.Options{}).Lock(t.Context(), ledger.LockOptions{TTL: time.Minute})
		require.NoError(t, err)
		ends := make([]error, runs)
		var all, here sync.WaitGroup
		here.Add(runs)
		for n := range runs {
			all.Go(func() {
				ends[n] = shipInTurn(t.Context(), &entered{Store: p.store, first: sync.OnceFunc(here.Done)}, n+1)
			})
		}
		here.Wait()
		require.NoError(t, working.Unlock(t.Context()))
		all.Wait()
		settledNow := 0
		for n, err := range ends {
			var superseded *ledger.SupersededError
			if err == nil {
				settledNow++
				continue
			}
			require.ErrorAs(t, err, &superseded, "release %d", n+1)
		}
		require.NoError(t, ends[runs-1], "the newest is released")

		l := ledger.New(p.store, app, ledger.Options{})
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, records, settledNow)
		require.Equal(t, version(runs).SHA, records[0].SHA, "and it is the last")
		requireWhole(t, l)
	})
}

// entered is a store that tells when the lock was read for the first time.
type entered struct {
	ledger.Store
	first func()
}

func (e *entered) ReadLock(ctx context.Context) (ledger.StoredLock, error) {
	defer e.first()
	return e.Store.ReadLock(ctx)
}

func shipInTurn(ctx context.Context, store ledger.Store, n int) error {
	l := ledger.New(store, app, ledger.Options{})
	lock, err := l.Lock(ctx, ledger.LockOptions{Wait: time.Hour, TTL: time.Minute, What: fmt.Sprint("commit ", n), Order: int64(n)})
	if err != nil {
		return err
	}
	begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(n)})
	if err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // the rollout
	rec := begun.Record
	rec.Outcome, rec.Parity = release.Settled, true
	return errors.Join(seal(ctx, l, begun, rec), lock.Unlock(ctx))
}

func TestWhoWaitsSaysForWhom(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		working, err := l.Lock(t.Context(), ledger.LockOptions{Holder: "somebody", TTL: time.Minute, What: "commit 1", Order: 1})
		require.NoError(t, err)
		said := make(chan release.Event, 8)
		other := ledger.New(p.store, app, ledger.Options{Progress: func(e release.Event) { said <- e }})
		ended := waits(t.Context(), other, 5)
		e := <-said
		require.Contains(t, e.Message, "waiting for somebody")
		require.Equal(t, release.MarkStart, e.Mark, "a step that comes soon after a line is not printed in CI, and this one is said once")
		require.NoError(t, working.Unlock(t.Context()))
		require.NoError(t, <-ended)
		require.Equal(t, release.MarkDone, (<-said).Mark, "on a terminal the step is drawn until it is done")
	})
}
