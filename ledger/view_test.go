package ledger_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// counting is a store that notes what is asked of it.
type counting struct {
	ledger.Store
	mu    sync.Mutex
	asked []string
}

func (c *counting) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, what)
}

func (c *counting) ReadLock(ctx context.Context) (ledger.StoredLock, error) {
	c.note("read the lock")
	return c.Store.ReadLock(ctx)
}

func (c *counting) SwapLock(ctx context.Context, next ledger.StoredLock) (string, error) {
	c.note("write the lock")
	return c.Store.SwapLock(ctx, next)
}

func (c *counting) Read(ctx context.Context, name string) (ledger.StoredEntry, error) {
	c.note("read " + name)
	return c.Store.Read(ctx, name)
}

func (c *counting) Names(ctx context.Context, kind string) ([]string, error) {
	c.note("list " + kind)
	return c.Store.Names(ctx, kind)
}

// Scan counts each entry that is read, not the asking alone.
func (c *counting) Scan(ctx context.Context, kind string, each func(ledger.StoredEntry) error) error {
	return c.Store.Scan(ctx, kind, func(e ledger.StoredEntry) error {
		c.note("scan " + e.Name)
		return each(e)
	})
}

func (c *counting) Create(ctx context.Context, e ledger.StoredEntry) (string, error) {
	c.note("create " + e.Name)
	return c.Store.Create(ctx, e)
}

func (c *counting) Drop(ctx context.Context, kind string, chosen func(name string) bool) error {
	c.note("drop " + kind)
	return c.Store.(ledger.Dropper).Drop(ctx, kind, chosen)
}

func (c *counting) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	c.note("write " + e.Name)
	return c.Store.Swap(ctx, e)
}

func TestAReleaseReadsTheLedgerOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		threeRecords(t, p, ledger.Options{})
		store := &counting{Store: p.store}
		mirror, _ := newMirror(t, nil)
		l := ledger.New(store, app, ledger.Options{Mirror: mirror})
		view, err := l.View(t.Context(), 1)
		require.NoError(t, err)
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour, View: view})
		require.NoError(t, err)
		require.True(t, lock.ViewHolds())
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(4)})
		require.NoError(t, err)
		rec := begun.Record
		require.Equal(t, int64(4), rec.Seq)
		rec.Outcome, rec.Parity = release.Settled, true
		sealed, err := l.Seal(t.Context(), begun, rec)
		require.NoError(t, err)
		require.NoError(t, lock.Unlock(t.Context()))

		slices.Sort(store.asked)
		require.Equal(t, []string{
			"create 000004", "list withdrawn", "read 000003", "read 000004",
			"read the lock", "read the lock", // before it is taken, and before the outcome is stored
			"write 000004", "write the lock", "write the lock",
		}, store.asked)

		store.asked = nil
		copied, err := l.Copy(t.Context(), ledger.Copied{}, sealed)
		require.NoError(t, err)
		require.Equal(t, 4, copied)
		slices.Sort(store.asked)
		require.Equal(t, []string{"read 000001", "read 000002", "read 000003"}, store.asked, "its own record it knows")
		requireWhole(t, l)
	})
}

func TestAViewThatIsOutOfDateIsNotUsed(t *testing.T) {
	t.Run("another run has shipped since", func(t *testing.T) {
		onEveryStore(t, func(t *testing.T, p place) {
			l, other := ledger.New(p.store, app, ledger.Options{}), ledger.New(p.store, app, ledger.Options{})
			lock, err := other.Lock(t.Context(), ledger.LockOptions{})
			require.NoError(t, err)
			settled(t, other, lock, 1)
			require.NoError(t, lock.Unlock(t.Context()))
			view, err := l.View(t.Context(), 1)
			require.NoError(t, err)

			lock, err = other.Lock(t.Context(), ledger.LockOptions{})
			require.NoError(t, err)
			settled(t, other, lock, 2)
			require.NoError(t, lock.Unlock(t.Context()))

			mine := takeWith(t, l, view)
			require.False(t, mine.ViewHolds())
			rec := settled(t, l, mine, 3)
			require.Equal(t, int64(3), rec.Seq)
			require.Equal(t, int64(2), rec.Previous)
			requireWhole(t, l)
		})
	})
	t.Run("its holder wrote once more before it died", func(t *testing.T) {
		onEveryStore(t, func(t *testing.T, p place) {
			l, other := ledger.New(p.store, app, ledger.Options{}), ledger.New(p.store, app, ledger.Options{})
			lock, err := other.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
			require.NoError(t, err)
			begun, err := other.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
			require.NoError(t, err)
			rec := begun.Record
			rec.Outcome, rec.Parity = release.Settled, true
			diesUnheard(t, p.store)
			view, err := l.View(t.Context(), 1) // the record is begun
			require.NoError(t, err)
			require.NoError(t, seal(t.Context(), other, begun, rec))

			mine := takeWith(t, l, view)
			require.False(t, mine.ViewHolds())
			require.Equal(t, int64(2), settled(t, l, mine, 2).Seq)
			requireWhole(t, l)
		})
	})
}

func TestPartsGoAheadOfTheOutcome(t *testing.T) {
	var mu sync.Mutex
	uploads, lists := 0, 0
	mirror, _ := newMirror(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			switch {
			case r.Method == http.MethodPost:
				uploads++
			case strings.HasSuffix(r.URL.Path, "/tags/list"):
				lists++
			}
			mu.Unlock()
			next.ServeHTTP(w, r)
		})
	})
	p := directory(t)
	l := ledger.New(p.store, app, ledger.Options{Mirror: mirror})
	lock := take(t, l)
	begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1), Attachments: map[string][]byte{"worker.bundle": {1, 2, 3}}})
	require.NoError(t, err)
	rec := begun.Record
	ahead, err := l.CopyAhead(t.Context(), begun)
	require.NoError(t, err)
	names, err := mirror.Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names, "what has not ended has no copy, and nobody sees what went ahead")

	uploads, lists = 0, 0
	rec.Outcome, rec.Parity = release.Settled, true
	sealed, err := l.Seal(t.Context(), begun, rec)
	require.NoError(t, err)
	copied, err := l.Copy(t.Context(), ahead, sealed)
	require.NoError(t, err)
	require.Equal(t, 1, copied)
	require.Zero(t, uploads, "the record itself is in the manifest")
	require.Zero(t, lists)
	requireWhole(t, l)
}

func TestWhatWasNotedOutlivesItsRun(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock, err := l.Lock(t.Context(), ledger.LockOptions{})
		require.NoError(t, err)
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		rec.Reason, rec.Failures = "cluster: CrashLoop", []*release.Failure{{Code: release.CodeCrashLoop, Log: []string{"the last line"}}}
		_, err = l.Note(t.Context(), begun, rec)
		require.NoError(t, err)
		require.NoError(t, lock.Unlock(t.Context())) // and nothing more is heard of it

		next := take(t, l)
		require.Equal(t, int64(2), settled(t, l, next, 2).Seq)
		left, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, left.Sealed)
		require.Equal(t, release.Pending, left.Record.Outcome)
		require.Equal(t, "cluster: CrashLoop; interrupted: "+rec.Holder+" did not come back", left.Record.Reason)
		require.Equal(t, rec.Failures, left.Record.Failures)
		_, err = l.Note(t.Context(), begun, rec)
		var lost *ledger.LostError
		require.ErrorAs(t, err, &lost, "another run has the lock, and has sealed it")
		requireWhole(t, l)
	})
}

func TestWhatReleasesHaveAlikeIsHeldOnce(t *testing.T) {
	l := ledger.New(inMemory().store, app, ledger.Options{})
	lock := take(t, l)
	for n := 1; n <= 3; n++ {
		settled(t, l, lock, n)
	}
	view, err := l.View(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, view.Entries, 3)
	held := view.Entries[0].Objects["cluster"][1] // a Service, which every version has
	for i, e := range view.Entries {
		objects := e.Release().Roles[0].Objects
		require.Equal(t, version(3 - i).Roles[0].Objects, objects)
		require.Same(t, &held[0], &objects[1][0])
	}
}
