package ledger_test

import (
	"context"
	"fmt"
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

// requests counts what a registry is asked for.
type requests struct {
	mu    sync.Mutex
	count int
	lists int // of all that the registry has
	next  http.Handler
	down  bool
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	if r.count++; strings.HasSuffix(req.URL.Path, "/tags/list") {
		r.lists++
	}
	down := r.down
	r.mu.Unlock()
	if down {
		http.Error(w, "away", http.StatusForbidden)
		return
	}
	r.next.ServeHTTP(w, req)
}

func (r *requests) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.count = 0 }()
	return r.count
}

// withRecords is a ledger with n records, their copies, and what of it is archived.
func withRecords(t *testing.T, p place, opts ledger.Options, n int) (*ledger.Ledger, ledger.Options, *requests) {
	t.Helper()
	seen := &requests{}
	opts.Mirror, _ = newMirror(t, func(next http.Handler) http.Handler { seen.next = next; return seen })
	l := ledger.New(p.store, app, opts)
	underLock(t, l, func(lock *ledger.Lock) { shipAndArchive(t, l, lock, 1, n) })
	return l, opts, seen
}

// underLock does something under the lock, and gives it back.
func underLock(t *testing.T, l *ledger.Ledger, do func(*ledger.Lock)) {
	t.Helper()
	lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
	require.NoError(t, err)
	do(lock)
	require.NoError(t, lock.Unlock(t.Context()))
}

// shipAndArchive ships releases, archives as each run does, and copies the rest at the end.
func shipAndArchive(t *testing.T, l *ledger.Ledger, lock *ledger.Lock, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		settled(t, l, lock, n)
		_, err := l.Archive(t.Context(), lock)
		require.NoError(t, err)
	}
	_, err := l.Copy(t.Context(), ledger.Copied{})
	require.NoError(t, err)
}

func storedNumbers(t *testing.T, store ledger.Store) (first string, count int) {
	t.Helper()
	names, err := store.Names(t.Context(), "")
	require.NoError(t, err)
	slices.Sort(names)
	return names[0], len(names)
}

func TestOldRecordsMoveToTheRegistryAndAreReadFromThere(t *testing.T) {
	p := inMemory()
	l, _, _ := withRecords(t, p, signed(t), 400)
	first, count := storedNumbers(t, p.store)
	require.Equal(t, "000193", first)
	require.Equal(t, 208, count)
	for _, kind := range []string{"signature", "archive"} {
		names, err := p.store.Names(t.Context(), kind)
		require.NoError(t, err)
		require.Len(t, names, map[string]int{"signature": 208, "archive": 1}[kind], kind)
	}
	requireWhole(t, l)

	t.Run("a record", func(t *testing.T) {
		entry, err := l.Read(t.Context(), 7)
		require.NoError(t, err)
		require.Equal(t, version(7).SHA, entry.Release().SHA)
		require.Equal(t, version(7).Roles[0].Objects, entry.Release().Roles[0].Objects)
	})
	t.Run("pages of the history, over the border", func(t *testing.T) {
		for _, before := range []int64{0, 210, 196, 193, 150, 65, 3} {
			records, err := l.List(t.Context(), 20, before)
			require.NoError(t, err)
			newest := before - 1
			if before == 0 {
				newest = 400
			}
			require.Len(t, records, int(min(20, newest)))
			for i, r := range records {
				require.Equal(t, newest-int64(i), r.Seq)
				require.Empty(t, r.Altered)
				require.Len(t, r.Roles, 2, "the whole record")
			}
		}
		all, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, all, 400)
		require.Equal(t, int64(1), all[399].Seq)
	})
	t.Run("the choice of a rollback", func(t *testing.T) {
		newest, err := l.Newest(t.Context(), func(newest []release.Record) bool {
			_, err := release.Choose(newest, "1.5.0")
			return err == nil
		})
		require.NoError(t, err)
		chosen, err := release.Choose(newest, "1.5.0")
		require.NoError(t, err)
		require.Equal(t, int64(5), chosen.Seq)
	})
	t.Run("a withdrawal", func(t *testing.T) {
		underLock(t, l, func(lock *ledger.Lock) { require.NoError(t, withdraw(t.Context(), l, lock, 9, "CVE-2026-1")) })
		entry, err := l.Read(t.Context(), 9)
		require.NoError(t, err)
		require.True(t, entry.Record.Withdrawn)
	})
}

func TestNothingIsDroppedWithoutItsCopy(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, p place, seen *requests){
		"the registry is away": func(_ *testing.T, _ place, seen *requests) { seen.down = true },
		"the record differs": func(t *testing.T, p place, _ *requests) {
			p.forge(t, "000010", with(parts(t, p.store, "000010"), "record", `"1.10.0"`, `"9.9.9"`))
		},
		"what is beside it differs": func(t *testing.T, p place, _ *requests) {
			p.forge(t, "000010", with(parts(t, p.store, "000010"), "objects.json.gz", "\x08", "\x09"))
		},
		"a record of the chain is gone": func(t *testing.T, p place, _ *requests) { p.forge(t, "000010", nil) },
		"the one after them is gone":    func(t *testing.T, p place, _ *requests) { p.forge(t, "000065", nil) },
	} {
		t.Run(what, func(t *testing.T) {
			p := inMemory()
			l, _, seen := withRecords(t, p, ledger.Options{}, 263)
			var before []string
			underLock(t, l, func(lock *ledger.Lock) {
				settled(t, l, lock, 264)
				spoil(t, p, seen)
				var err error
				before, err = p.store.Names(t.Context(), "")
				require.NoError(t, err)
				moved, err := l.Archive(t.Context(), lock)
				require.Error(t, err)
				require.Zero(t, moved)
			})
			after, err := p.store.Names(t.Context(), "")
			require.NoError(t, err)
			require.ElementsMatch(t, before, after)
		})
	}
}

// diesAfter ends the run at one of its writes of the store.
type diesAfter struct {
	ledger.Store
	left int
}

func (d *diesAfter) Create(ctx context.Context, e ledger.StoredEntry) (string, error) {
	if d.left--; d.left < 0 {
		return "", fmt.Errorf("killed")
	}
	return d.Store.Create(ctx, e)
}

func (d *diesAfter) Drop(ctx context.Context, kind string, chosen func(string) bool) error {
	return d.Store.(ledger.Dropper).Drop(ctx, kind, func(name string) bool {
		if !chosen(name) {
			return false
		}
		d.left--
		return d.left >= 0
	})
}

func TestAMoveThatWasKilledIsFinishedByTheNext(t *testing.T) {
	for _, writes := range []int{0, 1, 30, 64, 65} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			p := inMemory()
			l, opts, _ := withRecords(t, p, ledger.Options{}, 263)
			underLock(t, l, func(lock *ledger.Lock) {
				settled(t, l, lock, 264)
				_, err := l.Copy(t.Context(), ledger.Copied{})
				require.NoError(t, err)
				dying := ledger.New(&diesAfter{p.store, writes}, app, opts)
				_, _ = dying.Archive(t.Context(), lock)
				requireWhole(t, l)
				all, err := l.List(t.Context(), 0, 0)
				require.NoError(t, err)
				require.Len(t, all, 264)
				shipAndArchive(t, l, lock, 265, 328)
			})
			first, count := storedNumbers(t, p.store)
			require.Equal(t, "000129", first)
			require.Equal(t, 200, count)
			requireWhole(t, l)
		})
	}
}

func TestALostClusterWithAnArchiveIsBroughtBack(t *testing.T) {
	_, opts, _ := withRecords(t, inMemory(), signed(t), 400)
	p := inMemory()
	again := ledger.New(p.store, app, opts)
	underLock(t, again, func(lock *ledger.Lock) {
		_, err := again.Recover(t.Context(), lock)
		require.NoError(t, err)
	})
	_, count := storedNumbers(t, p.store)
	require.Equal(t, 208, count, "the archive stays where it is")
	requireWhole(t, again)
	entry, err := again.Read(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, int64(3), entry.Record.Seq)
	underLock(t, again, func(lock *ledger.Lock) { require.Equal(t, int64(401), settled(t, again, lock, 401).Seq) })
}

func TestWhatACommandCostsDoesNotGrowWithTheArchive(t *testing.T) {
	p := inMemory()
	l, opts, seen := withRecords(t, p, signed(t), 20)
	cost := func(n int) (store, registry int) {
		counting := &counting{Store: p.store}
		l := ledger.New(counting, app, opts)
		seen.asked()
		view, err := l.View(t.Context(), 4)
		require.NoError(t, err)
		_, err = l.List(t.Context(), 10, 0)
		require.NoError(t, err)
		faults, err := l.Verify(t.Context(), 10)
		require.NoError(t, err)
		require.Empty(t, faults)
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour, View: view})
		require.NoError(t, err)
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(n)})
		require.NoError(t, err)
		ahead, err := l.CopyAhead(t.Context(), begun)
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		sealed, err := l.Seal(t.Context(), begun, rec)
		require.NoError(t, err)
		signatures, err := l.Sign(t.Context(), sealed)
		require.NoError(t, err)
		_, err = l.Copy(t.Context(), ahead, append(signatures, sealed)...)
		require.NoError(t, err)
		_, err = l.Archive(t.Context(), lock)
		require.NoError(t, err)
		require.NoError(t, lock.Unlock(t.Context()))
		return len(counting.asked), seen.asked()
	}
	few, fewOfRegistry := cost(21)
	underLock(t, l, func(lock *ledger.Lock) { shipAndArchive(t, l, lock, 22, 2018) })
	many, manyOfRegistry := cost(2019)
	require.Equal(t, few, many, "of the store")
	require.Equal(t, fewOfRegistry, manyOfRegistry, "of the registry")
	require.Zero(t, seen.lists, "nor does an answer")
}
