package ledger_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// seqs are the numbers of records.
func seqs(records []release.Record) (numbers []int64) {
	for _, r := range records {
		numbers = append(numbers, r.Seq)
	}
	return numbers
}

func TestAListHasPages(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock := take(t, l)
		none, err := l.List(t.Context(), 5, 0)
		require.NoError(t, err)
		require.Empty(t, none)
		for n := 1; n <= 7; n++ {
			settled(t, l, lock, n)
		}
		for _, tc := range []struct {
			limit  int
			before int64
			want   []int64
		}{
			{0, 0, []int64{7, 6, 5, 4, 3, 2, 1}}, {3, 0, []int64{7, 6, 5}}, {3, 5, []int64{4, 3, 2}}, {3, 2, []int64{1}},
			{3, 1, nil}, {0, 4, []int64{3, 2, 1}}, {100, 0, []int64{7, 6, 5, 4, 3, 2, 1}}, {2, 100, []int64{7, 6}},
		} {
			records, err := l.List(t.Context(), tc.limit, tc.before)
			require.NoError(t, err)
			require.Equal(t, tc.want, seqs(records), "%d before %d", tc.limit, tc.before)
		}

		// The first of a page is compared with the one after it, and what is gone is passed over.
		p.forge(t, "000004", with(parts(t, p.store, "000004"), "record", `"1.4.0"`, `"1.9.0"`))
		p.forge(t, "000003", nil)
		records, err := l.List(t.Context(), 2, 5)
		require.NoError(t, err)
		require.Equal(t, []int64{4, 2}, seqs(records))
		require.Contains(t, records[0].Altered, "previousHash")
	})
}

func TestOnlyAsManyRecordsAreReadAsItTakes(t *testing.T) {
	p := inMemory()
	l := ledger.New(p.store, app, ledger.Options{})
	lock := take(t, l)
	for n := 1; n <= 400; n++ {
		settled(t, l, lock, n)
	}
	store := &counting{Store: p.store}
	l = ledger.New(store, app, ledger.Options{})
	newest, err := l.Newest(t.Context(), func(newest []release.Record) bool { return newest[len(newest)-1].Seq <= 390 })
	require.NoError(t, err)
	require.Equal(t, int64(400), newest[0].Seq)
	require.Less(t, len(store.asked), 30)

	newest, err = l.Newest(t.Context(), func(newest []release.Record) bool {
		return slices.ContainsFunc(newest, func(r release.Record) bool { return r.Seq == 2 })
	})
	require.NoError(t, err)
	require.Equal(t, int64(1), newest[len(newest)-1].Seq)
	require.Len(t, slices.Compact(seqs(newest)), 400)
	require.True(t, slices.IsSortedFunc(newest, func(a, b release.Record) int { return int(b.Seq - a.Seq) }))
}

func TestWhatVerifyCostsDoesNotGrow(t *testing.T) {
	p := inMemory()
	mirror, _ := newMirror(t, nil)
	opts := signed(t)
	opts.Mirror = mirror
	l := ledger.New(p.store, app, opts)
	lock := take(t, l)
	asked := func() int {
		_, err := l.Copy(t.Context(), ledger.Copied{})
		require.NoError(t, err)
		store := &counting{Store: p.store}
		opts := opts
		faults, err := ledger.New(store, app, opts).Verify(t.Context(), 10)
		require.NoError(t, err)
		require.Empty(t, faults)
		return len(store.asked)
	}
	for n := 1; n <= 20; n++ {
		settled(t, l, lock, n)
	}
	few := asked()
	for n := 21; n <= 200; n++ {
		settled(t, l, lock, n)
	}
	require.Equal(t, few, asked())

	// What is older is looked at when it is asked for.
	p.forge(t, "000005", with(parts(t, p.store, "000005"), "record", `"1.5.0"`, `"1.9.0"`))
	faults, err := l.Verify(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, faults)
	faults, err = l.Verify(t.Context(), 0)
	require.NoError(t, err)
	requireFault(t, faults, ledger.Fault{Seq: 5, Kind: ledger.FaultAltered, Field: "previousHash"})
}

func TestARegistryThatServesMoreThanItSaidIsNotReadToItsEnd(t *testing.T) {
	endless := false
	mirror, _ := newMirror(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if endless && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						return
					}
				}
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	require.NoError(t, mirror.Put(t.Context(), "000001", map[string][]byte{"record": []byte(`{"seq":1}`), "objects.json.gz": {1, 2, 3}}))
	endless = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := mirror.Get(ctx, "000001")
	require.ErrorContains(t, err, "part objects.json.gz")
	require.NoError(t, ctx.Err())
}

func TestWhatARunCostsDoesNotGrow(t *testing.T) {
	p := inMemory()
	l := ledger.New(p.store, app, ledger.Options{})
	shipMany := func(from, to int) {
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		for n := from; n <= to; n++ {
			settled(t, l, lock, n)
		}
		require.NoError(t, lock.Unlock(t.Context()))
	}
	asked := func(n int) int {
		store := &counting{Store: p.store}
		l := ledger.New(store, app, ledger.Options{})
		view, err := l.View(t.Context(), 4)
		require.NoError(t, err)
		_, err = l.List(t.Context(), 10, 0)
		require.NoError(t, err)
		_, err = l.Read(t.Context(), view.Entries[3].Record.Seq)
		require.NoError(t, err)
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour, View: view})
		require.NoError(t, err)
		settled(t, l, lock, n)
		require.NoError(t, lock.Unlock(t.Context()))
		return len(store.asked)
	}
	shipMany(1, 20)
	few := asked(21)
	shipMany(22, 1000)
	require.Equal(t, few, asked(1001))
}
