package ledger_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// TestTenThousandRecordsInACluster makes SHIPIT_RECORDS records directly in the store
// of a cluster, as a shipit that archived nothing would have left them, and measures
// what commands cost: beside twenty records, with all of them in the cluster, and when
// the old ones are archived.
func TestTenThousandRecordsInACluster(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("SHIPIT_RECORDS"))
	if err != nil {
		t.Skip("SHIPIT_RECORDS says how many")
	}
	newGrowth(t, 20).measure(t, "20 records")
	g := newGrowth(t, n)
	g.measure(t, "all in the cluster")
	began, runs := time.Now(), 0
	for moved := 1; moved > 0 || g.newest%8 != 0; runs++ {
		moved = g.ship(t)
	}
	_, count := storedNumbers(t, g.store)
	t.Logf("archived by %d runs in %s; %d records are in the cluster", runs, time.Since(began).Round(time.Second), count)
	g.measure(t, "old ones archived")
	began = time.Now()
	requireWhole(t, ledger.New(g.store, app, g.opts))
	t.Logf("all verified in %s", time.Since(began).Round(time.Second))
}

// growth is a ledger in a cluster whose records are made elsewhere.
type growth struct {
	store  ledger.Store
	opts   ledger.Options
	seen   *requests
	newest int
}

func newGrowth(t *testing.T, n int) *growth {
	t.Helper()
	g := &growth{store: inCluster(t).store, seen: &requests{}, newest: n}
	g.opts.Mirror, _ = newMirror(t, func(next http.Handler) http.Handler { g.seen.next = next; return g.seen })
	made := ledgertest.NewStore()
	l := ledger.New(made, app, g.opts)
	underLock(t, l, func(lock *ledger.Lock) {
		for i := 1; i <= n; i++ {
			settled(t, l, lock, i)
		}
	})
	_, err := l.Copy(t.Context(), ledger.Copied{})
	require.NoError(t, err)
	names, err := made.Names(t.Context(), "")
	require.NoError(t, err)
	work := make(chan string)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for name := range work {
				e, err := made.Read(t.Context(), name)
				if err == nil {
					_, err = g.store.Create(t.Context(), e)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	all.Wait()
	lock, err := made.ReadLock(t.Context())
	require.NoError(t, err)
	lock.Version = ""
	_, err = g.store.SwapLock(t.Context(), lock)
	require.NoError(t, err)
	return g
}

// ship makes the next release, as a run does, and returns how many records it archived.
func (g *growth) ship(t *testing.T) (moved int) {
	t.Helper()
	g.newest++
	return shipOn(t, ledger.New(g.store, app, g.opts), g.newest)
}

func shipOn(t *testing.T, l *ledger.Ledger, n int) (moved int) {
	t.Helper()
	view, err := l.View(t.Context(), 4)
	require.NoError(t, err)
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
	_, err = l.Copy(t.Context(), ahead, sealed)
	require.NoError(t, err)
	moved, err = l.Archive(t.Context(), lock)
	require.NoError(t, err)
	require.NoError(t, lock.Unlock(t.Context()))
	return moved
}

// measure logs what commands ask of the cluster and the registry, take and allocate.
func (g *growth) measure(t *testing.T, when string) {
	t.Helper()
	for g.newest%8 == 7 { // the next run would look for what is to be archived
		g.ship(t)
	}
	for _, command := range []struct {
		name string
		run  func(l *ledger.Ledger)
	}{
		{"status", func(l *ledger.Ledger) {
			newest, err := l.Newest(t.Context(), func(newest []release.Record) bool { _, good := release.Current(newest); return good })
			require.NoError(t, err)
			_, err = l.Read(t.Context(), newest[0].Seq)
			require.NoError(t, err)
		}},
		{"plan", func(l *ledger.Ledger) { _, err := l.View(t.Context(), 4); require.NoError(t, err) }},
		{"history -n 10", func(l *ledger.Ledger) { _, err := l.List(t.Context(), 10, 0); require.NoError(t, err) }},
		{"verify --records 10", func(l *ledger.Ledger) {
			faults, err := l.Verify(t.Context(), 10)
			require.NoError(t, err)
			require.Empty(t, faults)
		}},
		{"rollback --to 3", func(l *ledger.Ledger) { _, err := l.Read(t.Context(), 3); require.NoError(t, err) }},
		{"release", func(l *ledger.Ledger) { g.newest++; shipOn(t, l, g.newest) }},
	} {
		counted := &counting{Store: g.store}
		g.seen.asked()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		command.run(ledger.New(counted, app, g.opts))
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		t.Log(fmt.Sprintf("%-20s %-20s cluster %3d, registry %3d requests, %6.1f ms, %7.1f KiB allocated", when, command.name,
			len(counted.asked), g.seen.asked(), float64(took.Microseconds())/1000, float64(after.TotalAlloc-before.TotalAlloc)/1024))
	}
}
