package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// stalling is a store whose next write of a record waits on its way.
type stalling struct {
	ledger.Store
	once    sync.Once
	stalled chan struct{} // closed when the write waits
	goOn    chan struct{} // closed to let it arrive
}

func newStalling(store ledger.Store) *stalling {
	return &stalling{Store: store, stalled: make(chan struct{}), goOn: make(chan struct{})}
}

func (s *stalling) wait() {
	s.once.Do(func() {
		close(s.stalled)
		<-s.goOn
	})
}

func (s *stalling) Create(ctx context.Context, e ledger.StoredEntry) (string, error) {
	s.wait()
	return s.Store.Create(ctx, e)
}

func (s *stalling) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	s.wait()
	return s.Store.Swap(ctx, e)
}

func TestAWriteOnItsWayDoesNotArriveAfterATakeover(t *testing.T) {
	t.Run("the outcome of a run", func(t *testing.T) {
		onEveryStore(t, func(t *testing.T, p place) {
			l := ledger.New(p.store, app, ledger.Options{})
			lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
			require.NoError(t, err)
			begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
			require.NoError(t, err)
			store := newStalling(p.store)
			late := make(chan error, 1)
			rec := begun.Record
			rec.Outcome, rec.Parity = release.Settled, true
			go func() { late <- seal(t.Context(), ledger.New(store, app, ledger.Options{}), begun, rec) }()
			<-store.stalled

			diesUnheard(t, p.store)
			next := take(t, l)
			require.Equal(t, int64(2), settled(t, l, next, 2).Seq)
			close(store.goOn)
			var conflict *ledger.ConflictError
			require.ErrorAs(t, <-late, &conflict)
			left, err := l.Read(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, release.Pending, left.Record.Outcome)
			requireWhole(t, l)
		})
	})
	t.Run("the pending record of a run", func(t *testing.T) {
		onEveryStore(t, func(t *testing.T, p place) {
			l, store := ledger.New(p.store, app, ledger.Options{}), newStalling(p.store)
			stopped := ledger.New(store, app, ledger.Options{})
			lock, err := stopped.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
			require.NoError(t, err)
			late := make(chan error, 1)
			go func() {
				_, err := stopped.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
				late <- err
			}()
			<-store.stalled

			diesUnheard(t, p.store)
			next := take(t, l)
			rec := settled(t, l, next, 2)
			require.Equal(t, int64(1), rec.Seq)
			close(store.goOn)
			var lost *ledger.LostError
			require.ErrorAs(t, <-late, &lost)
			records, err := l.List(t.Context(), 0, 0)
			require.NoError(t, err)
			require.Equal(t, []release.Record{rec}, records)
		})
	})
}

func TestALateOutcomeDoesNotStopTheNextRun(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		// Its outcome was on its way when the lock was taken over, and arrives
		// just before the next run would seal its record.
		store := newStalling(p.store)
		diesUnheard(t, p.store)
		late := begun.Record
		late.Outcome, late.Reason = release.Failed, "arrived late"
		next, err := ledger.New(store, app, ledger.Options{}).Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			rec, err := ledger.New(store, app, ledger.Options{}).Begin(t.Context(), next, ledger.PendingRecord{Release: version(2)})
			if err == nil && rec.Record.Seq != 2 {
				err = fmt.Errorf("it is #%d", rec.Record.Seq)
			}
			done <- err
		}()
		<-store.stalled
		stored, err := p.store.Read(t.Context(), "000001")
		require.NoError(t, err)
		stored.Sealed = true
		version, err := p.store.Swap(t.Context(), stored)
		require.NoError(t, err)
		require.NotEmpty(t, version)
		close(store.goOn)
		require.NoError(t, <-done)
		require.NoError(t, next.Unlock(t.Context()))
	})
}

// settleWhenTold is a child process that begins a release, waits for a line, and
// then says whether it still holds the lock and could keep its outcome.
func settleWhenTold() {
	ctx := context.Background()
	l := ledger.New(childStore(), app, ledger.Options{})
	lock, err := l.Lock(ctx, ledger.LockOptions{Holder: "the stopped run", TTL: stoppedTTL})
	if err != nil {
		panic(err)
	}
	begun, err := l.Begin(ctx, lock, ledger.PendingRecord{Release: version(9)})
	if err != nil {
		panic(err)
	}
	fmt.Println("begun", begun.Record.Seq)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println("held:", lock.Held())
	fmt.Println("checked:", lock.Check(ctx))
	rec := begun.Record
	rec.Outcome, rec.Parity = release.Settled, true
	fmt.Println("sealed:", seal(ctx, l, begun, rec))
}

const stoppedTTL = heard

// stopBetweenWrites stops a process while it does not write to its folder: one
// that is stopped in the middle of a write keeps every other writer out.
func stopBetweenWrites(t *testing.T, child *os.Process, folder string) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.NoError(t, child.Signal(syscall.SIGSTOP))
		state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(child.Pid)).Output()
		if err != nil || !strings.HasPrefix(strings.TrimSpace(string(state)), "T") {
			return false
		}
		if folder == "" {
			return true
		}
		writer, err := os.OpenFile(filepath.Join(folder, app, ".writer"), os.O_RDWR, 0)
		require.NoError(t, err)
		defer writer.Close()
		if syscall.Flock(int(writer.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return true
		}
		require.NoError(t, child.Signal(syscall.SIGCONT))
		return false
	}, time.Minute, 50*time.Millisecond)
}

func TestARunThatWasStoppedChangesNothingAfterATakeover(t *testing.T) {
	t.Parallel()
	onEveryLastingStore(t, func(t *testing.T, p place) {
		child := exec.Command(os.Args[0])
		child.Env = append(append(os.Environ(), "LEDGER_CHILD=seal"), p.reopen...)
		child.Stderr = os.Stderr
		in, err := child.StdinPipe()
		require.NoError(t, err)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		said := bufio.NewReader(out)
		line, err := said.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "begun 1\n", line)

		t.Cleanup(func() { _ = child.Process.Kill() })
		stopBetweenWrites(t, child.Process, p.folder)
		_, err = io.WriteString(in, "go on\n")
		require.NoError(t, err)
		l := ledger.New(p.store, app, ledger.Options{})
		next, err := l.Lock(t.Context(), ledger.LockOptions{Wait: time.Hour, TTL: time.Minute})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, next.Unlock(context.Background())) })
		require.Equal(t, int64(2), settled(t, l, next, 2).Seq)
		require.NoError(t, child.Process.Signal(syscall.SIGCONT))

		rest, err := io.ReadAll(said)
		require.NoError(t, err)
		require.NoError(t, child.Wait())
		lines := strings.Split(strings.TrimSpace(string(rest)), "\n")
		require.Len(t, lines, 3)
		for i, what := range []string{"held", "checked", "sealed"} {
			require.True(t, strings.HasPrefix(lines[i], what+": the lock "), lines[i])
		}
		left, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, release.Pending, left.Record.Outcome)
		requireWhole(t, l)
	})
}

func TestHeldAsksNobodyAndCheckRenews(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, p place) {
		far := &elsewhere{Store: p.store}
		l := ledger.New(far, app, ledger.Options{})
		const ttl = 2 * heard // what is left of it is a sixth
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: ttl})
		require.NoError(t, err)
		require.NoError(t, lock.Held())
		far.cut.Store(true)
		require.NoError(t, lock.Check(t.Context()), "nobody can have taken it over")
		require.Eventually(t, func() bool { return lock.Held() != nil }, ttl, time.Millisecond)
		var lost *ledger.LostError
		require.ErrorAs(t, lock.Held(), &lost)
		require.Error(t, lock.Check(t.Context()))
		require.False(t, errors.Is(lock.Check(t.Context()), context.Canceled))
	})
}

func TestAWriterThatWasStoppedIsNotWaitedForWithoutEnd(t *testing.T) {
	folder := t.TempDir()
	store := ledger.NewDirectory(folder, app)
	_, err := store.SwapLock(t.Context(), ledger.StoredLock{Fields: map[string]string{"holder": "joel"}})
	require.NoError(t, err)
	writer, err := os.OpenFile(filepath.Join(folder, app, ".writer"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer writer.Close()
	require.NoError(t, syscall.Flock(int(writer.Fd()), syscall.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = store.Create(ctx, ledger.StoredEntry{Name: "000001"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Minute)
}
