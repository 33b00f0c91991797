package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestAnotherLivingRunHoldsTheLock(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		const ttl = 10 * time.Minute // it renews after minutes, which nobody waits for here
		first, err := l.Lock(t.Context(), ledger.LockOptions{Holder: "joel@mac pid 1", TTL: ttl})
		require.NoError(t, err)

		start := time.Now()
		_, err = l.Lock(t.Context(), ledger.LockOptions{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		require.Equal(t, "joel@mac pid 1", held.Holder)
		require.WithinDuration(t, time.Now(), held.Since, time.Minute)
		require.Equal(t, ttl, held.Expires.Sub(held.Since))
		require.Less(t, time.Since(start), time.Minute, "a holder on this machine is known to live at once")

		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		impatient := ledger.New(p.store, app, ledger.Options{Progress: func(release.Event) { cancel(context.DeadlineExceeded) }}) // once it waits
		_, err = impatient.Lock(ctx, ledger.LockOptions{Wait: time.Hour})
		require.ErrorAs(t, err, &held)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		waited := make(chan error, 1)
		go func() {
			second, err := l.Lock(t.Context(), ledger.LockOptions{Wait: time.Hour})
			if err == nil && second.Fence != first.Fence+1 {
				err = errors.New("the fence did not grow by one")
			}
			if err == nil {
				err = second.Unlock(t.Context())
			}
			waited <- err
		}()
		require.NoError(t, first.Unlock(t.Context()))
		require.NoError(t, <-waited)
	})
}

func TestTheFenceGrowsAlsoWhenTheLockWasDeleted(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		for range 3 {
			lock, err := l.Lock(t.Context(), ledger.LockOptions{})
			require.NoError(t, err)
			require.NoError(t, lock.Unlock(t.Context()))
		}
		lock, err := l.Lock(t.Context(), ledger.LockOptions{})
		require.NoError(t, err)
		rec := settled(t, l, lock, 1)
		require.Equal(t, int64(4), rec.Fence)
		require.NoError(t, lock.Unlock(t.Context()))

		p.loseLock(t)
		lock = take(t, l)
		require.Equal(t, int64(5), lock.Fence)
		require.Equal(t, int64(2), settled(t, l, lock, 2).Seq)
	})
}

func TestAKilledRunIsTakenOverAndItsPendingRecordIsSealed(t *testing.T) {
	onEveryLastingStore(t, func(t *testing.T, p place) {
		child := exec.Command(os.Args[0])
		child.Env = append(append(os.Environ(), "LEDGER_CHILD=hold"), p.reopen...)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "begun 1\n", line)

		var notes []string
		l := ledger.New(p.store, app, ledger.Options{Progress: func(e release.Event) { notes = append(notes, e.Message) }})
		_, err = l.Lock(t.Context(), ledger.LockOptions{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		require.Equal(t, "the killed run", held.Holder)

		require.NoError(t, child.Process.Kill())
		_ = child.Wait()
		start := time.Now()
		lock := take(t, l)
		require.Less(t, time.Since(start), 30*time.Second, "its TTL is a minute, and its process is known to be dead")
		require.Equal(t, int64(2), settled(t, l, lock, 10).Seq)

		left, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, left.Sealed)
		require.Equal(t, release.Pending, left.Record.Outcome)
		require.Equal(t, "interrupted: the killed run did not come back", left.Record.Reason)
		require.Equal(t, version(9).Roles, left.Release().Roles)
		require.Contains(t, notes, "took over the lock of the killed run, which is gone")
		requireWhole(t, l)
	})
}

// anEarlier is a process of the same id that began earlier, and so has ended.
func anEarlier(t *testing.T, process string) string {
	t.Helper()
	fields := strings.Fields(process)
	if len(fields) != 3 || fields[2] == "-" {
		t.Skip("this system does not tell when a process began")
	}
	return fields[0] + " " + fields[1] + " 1"
}

// diesUnheard makes the lock one of a process of this machine that has ended.
func diesUnheard(t *testing.T, store ledger.Store) {
	t.Helper()
	held, err := store.ReadLock(t.Context())
	require.NoError(t, err)
	held.Fields["process"] = anEarlier(t, held.Fields["process"])
	version, err := store.SwapLock(t.Context(), held)
	require.NoError(t, err)
	require.NotEmpty(t, version)
}

func TestAProcessIDThatWasGivenAgainIsNotTheHolder(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		diesUnheard(t, p.store)
		require.Equal(t, lock.Fence+1, take(t, l).Fence)
	})
}

// elsewhere is a store as a run on another machine writes to it: its process
// means nothing here.
type elsewhere struct {
	ledger.Store
	cut atomic.Bool // its network
}

func (e *elsewhere) SwapLock(ctx context.Context, next ledger.StoredLock) (string, error) {
	if e.cut.Load() {
		return "", errors.New("no route to host")
	}
	next.Fields["process"] = "another-boot/pid:[1] 1 1"
	return e.Store.SwapLock(ctx, next)
}

// heard is a TTL whose holder goes on being heard in time on a machine that is busy
// for seconds: it renews three times a TTL. Tests that wait for it are parallel.
const heard = 6 * time.Second

func TestClocksOfOtherMachinesAreNotBelieved(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run("a holder whose clock is "+name, func(t *testing.T) {
			t.Parallel()
			onEveryStore(t, func(t *testing.T, p place) {
				far := &elsewhere{Store: p.store}
				there := ledger.New(far, app, ledger.Options{Now: func() time.Time { return time.Now().Add(skew) }})
				here := ledger.New(p.store, app, ledger.Options{})
				theirs, err := there.Lock(t.Context(), ledger.LockOptions{Holder: "ci", TTL: heard})
				require.NoError(t, err)

				_, err = here.Lock(t.Context(), ledger.LockOptions{})
				var held *ledger.HeldError
				require.ErrorAs(t, err, &held, "it renews, so it lives")

				far.cut.Store(true) // as if it were gone
				start := time.Now()
				mine := take(t, here)
				require.GreaterOrEqual(t, time.Since(start), heard/2, "it could have lived")
				require.Less(t, time.Since(start), 10*heard)
				require.Equal(t, theirs.Fence+1, mine.Fence)
			})
		})
	}
}

// slow is a store that answers later than a TTL.
type slow struct {
	ledger.Store
	by time.Duration
}

func (s slow) ReadLock(ctx context.Context) (ledger.StoredLock, error) {
	time.Sleep(s.by)
	return s.Store.ReadLock(ctx)
}

func TestALivingHolderIsNotTakenOverByOneWhoLooksTooSeldom(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		there := ledger.New(&elsewhere{Store: p.store}, app, ledger.Options{})
		theirs, err := there.Lock(t.Context(), ledger.LockOptions{Holder: "ci", TTL: heard})
		require.NoError(t, err)
		_, err = ledger.New(slow{p.store, heard + time.Second}, app, ledger.Options{}).Lock(t.Context(), ledger.LockOptions{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		require.NoError(t, theirs.Unlock(t.Context()))
	})
}

func TestARecordIsSettledUnderTheLockThatBeganIt(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		first, err := l.Lock(t.Context(), ledger.LockOptions{})
		require.NoError(t, err)
		begun, err := l.Begin(t.Context(), first, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		require.NoError(t, first.Unlock(t.Context()))

		take(t, l)
		var lost *ledger.LostError
		require.ErrorAs(t, seal(t.Context(), l, begun, rec), &lost)
	})
}

func TestALostLockEndsTheRun(t *testing.T) {
	t.Parallel()
	steal := func(t *testing.T, store ledger.Store) {
		t.Helper()
		require.Eventually(t, func() bool { // the heartbeat may come in between
			held, err := store.ReadLock(t.Context())
			require.NoError(t, err)
			held.Fields["holder"], held.Fields["fence"] = "the thief", "99"
			version, err := store.SwapLock(t.Context(), held)
			require.NoError(t, err)
			return version != ""
		}, time.Minute, time.Millisecond)
	}
	t.Run("when another run has it", func(t *testing.T) {
		t.Parallel()
		onEveryStore(t, func(t *testing.T, p place) {
			l := ledger.New(p.store, app, ledger.Options{})
			lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: heard})
			require.NoError(t, err)
			begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
			require.NoError(t, err)
			rec := begun.Record
			ctx, stop := lock.Context(t.Context())
			defer stop()
			require.NoError(t, ctx.Err())

			steal(t, p.store)
			<-ctx.Done()
			var lost *ledger.LostError
			require.ErrorAs(t, context.Cause(ctx), &lost)
			require.Equal(t, "the thief", lost.Holder)

			_, err = l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(2)})
			require.ErrorAs(t, err, &lost)
			require.ErrorAs(t, seal(t.Context(), l, begun, rec), &lost)
			require.ErrorAs(t, withdraw(t.Context(), l, lock, 1, "no"), &lost)
			require.NoError(t, lock.Unlock(t.Context()))
			held, err := p.store.ReadLock(t.Context())
			require.NoError(t, err)
			require.Equal(t, "the thief", held.Fields["holder"], "what was lost is not released")
		})
	})
	t.Run("before the heartbeat finds out, nothing is written", func(t *testing.T) {
		t.Parallel()
		onEveryStore(t, func(t *testing.T, p place) {
			l := ledger.New(p.store, app, ledger.Options{})
			lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
			require.NoError(t, err)
			begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
			require.NoError(t, err)
			rec := begun.Record
			steal(t, p.store)
			var lost *ledger.LostError
			require.ErrorAs(t, seal(t.Context(), l, begun, rec), &lost)
			stored, err := p.store.Read(t.Context(), "000001")
			require.NoError(t, err)
			require.False(t, stored.Sealed)
		})
	})
	t.Run("when it cannot be renewed, before another may take it", func(t *testing.T) {
		t.Parallel()
		onEveryStore(t, func(t *testing.T, p place) {
			const ttl = 2 * heard // what is left of it is a sixth
			far := &elsewhere{Store: p.store}
			l := ledger.New(far, app, ledger.Options{})
			lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: ttl})
			require.NoError(t, err)
			begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
			require.NoError(t, err)
			rec := begun.Record
			ctx, stop := lock.Context(t.Context())
			defer stop()
			far.cut.Store(true)
			start := time.Now()
			<-ctx.Done()
			require.Less(t, time.Since(start), ttl)
			var lost *ledger.LostError
			require.ErrorAs(t, context.Cause(ctx), &lost)
			require.ErrorContains(t, lost, "no route to host")

			// Nobody took it, so its outcome may still be stored.
			rec.Reason = "the API server was away"
			require.NoError(t, seal(t.Context(), l, begun, rec))
		})
	})
}

// flaky is a store whose next answers do not arrive, whether what was asked for
// was done or not.
type flaky struct {
	ledger.Store
	refused, unheard atomic.Int32 // how many more writes fail, or are done without an answer
}

type away struct{}

func (away) Error() string   { return "connection reset" }
func (away) Temporary() bool { return true }

func (f *flaky) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	if f.refused.Add(-1) >= 0 {
		return "", away{}
	}
	version, err := f.Store.Swap(ctx, e)
	if f.unheard.Add(-1) >= 0 {
		return "", away{}
	}
	return version, err
}

func (f *flaky) SwapLock(ctx context.Context, next ledger.StoredLock) (string, error) {
	version, err := f.Store.SwapLock(ctx, next)
	if f.unheard.Add(-1) >= 0 {
		return "", away{}
	}
	return version, err
}

func TestAnAnswerThatDidNotArriveLosesNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		store := &flaky{Store: p.store}
		l := ledger.New(store, app, ledger.Options{})
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: heard})
		require.NoError(t, err)
		ctx, stop := lock.Context(t.Context())
		defer stop()

		store.unheard.Store(1) // by the heartbeat
		require.Eventually(t, func() bool { return store.unheard.Load() < 0 }, time.Minute, 10*time.Millisecond)
		before := renewals(t, store)
		require.Eventually(t, func() bool { return renewals(t, store) != before }, time.Minute, 10*time.Millisecond)
		require.NoError(t, ctx.Err())

		begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		store.refused.Store(2)
		require.NoError(t, seal(ctx, l, begun, rec))
		require.NoError(t, lock.Unlock(ctx))

		quiet := ledger.New(store, app, ledger.Options{}) // no heartbeat may take the lost answer
		second, err := quiet.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		begun, err = quiet.Begin(t.Context(), second, ledger.PendingRecord{Release: version(2)})
		require.NoError(t, err)
		rec = begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		store.unheard.Store(1)
		require.NoError(t, seal(t.Context(), quiet, begun, rec))
		require.NoError(t, second.Unlock(t.Context()))
		requireWhole(t, quiet)
	})
}

// onAClone is the process of a holder that runs on a clone of this machine, made
// from a snapshot: it has the same boot, and its id means nothing here.
func onAClone(process string) string {
	scope, _, _ := strings.Cut(process, " ")
	if parts := strings.Split(scope, "/"); len(parts) == 3 {
		parts[2] = "00112233445566778899aabbccddeeff"
		scope = strings.Join(parts, "/")
	}
	return scope + " 4194300 1"
}

func TestAHolderOnACloneOfThisMachineIsNotDead(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		_, err := l.Lock(t.Context(), ledger.LockOptions{Holder: "on a clone", TTL: heard})
		require.NoError(t, err)
		require.Eventually(t, func() bool { // the heartbeat may come in between
			held, err := p.store.ReadLock(t.Context())
			require.NoError(t, err)
			held.Fields["process"] = onAClone(held.Fields["process"])
			version, err := p.store.SwapLock(t.Context(), held)
			require.NoError(t, err)
			return version != ""
		}, time.Minute, time.Millisecond)

		// Its heartbeat goes on, as this process is the clone too.
		_, err = l.Lock(t.Context(), ledger.LockOptions{})
		var living *ledger.HeldError
		require.ErrorAs(t, err, &living)
		require.Equal(t, "on a clone", living.Holder)
	})
}
