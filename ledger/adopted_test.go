package ledger_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// found is what ran before the first release, with its content signed by l.
func found(t *testing.T, l *ledger.Ledger, rel release.Release) *ledger.Adopted {
	t.Helper()
	rel.Adopted, rel.Kind, rel.SHA, rel.Version = true, release.KindRelease, "", ""
	signature, err := l.SignContent(t.Context(), rel, nil)
	require.NoError(t, err)
	live := map[string]release.Live{}
	for _, role := range rel.Roles {
		live[role.Name] = release.Live{Digests: []string{role.Digest}, Ready: 1, Desired: 1, At: time.Now()}
	}
	return &ledger.Adopted{Record: release.Adopt(rel, live, time.Now()), Roles: rel.Roles, Attachments: signature}
}

// overFound settles the first release of a ledger over what ran before.
func overFound(t *testing.T, l *ledger.Ledger, lock *ledger.Lock, rel release.Release) release.Record {
	t.Helper()
	content, err := l.SignContent(t.Context(), version(1), nil)
	require.NoError(t, err)
	begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1), Attachments: content, Adopted: found(t, l, rel)})
	require.NoError(t, err)
	rec := begun.Record
	rec.Outcome, rec.Parity = release.Settled, true
	sealed, err := l.Seal(t.Context(), begun, rec)
	require.NoError(t, err)
	_, err = l.Sign(t.Context(), sealed)
	require.NoError(t, err)
	return rec
}

func TestWhatRanBeforeTheFirstReleaseIsTheRecord0(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, signed(t))
		lock := take(t, l)
		first := overFound(t, l, lock, version(9))
		require.Zero(t, first.Previous)
		require.NotEmpty(t, first.PreviousHash)
		zero, err := l.Read(t.Context(), 0)
		require.NoError(t, err)
		require.True(t, zero.Record.Good())
		require.True(t, zero.Record.Adopted)
		require.Empty(t, zero.Record.SHA)
		require.Equal(t, lock.Holder, zero.Record.Holder)
		require.Equal(t, version(9).Roles, zero.Release().Roles)

		settled(t, l, lock, 2)
		for limit, count := range map[int]int{0: 3, 1: 1, 2: 2, 3: 3, 9: 3} {
			records, err := l.List(t.Context(), limit, 0)
			require.NoError(t, err)
			require.Len(t, records, count)
			for i, r := range records {
				require.EqualValues(t, 2-i, r.Seq)
			}
		}
		records, err := l.List(t.Context(), 5, 1)
		require.NoError(t, err)
		require.Equal(t, []release.Record{zero.Record}, records, "the last page")
		records, err = l.ListSince(t.Context(), time.Now().Add(-time.Hour), 0, 0)
		require.NoError(t, err)
		require.Len(t, records, 3)
		view, err := l.View(t.Context(), 4)
		require.NoError(t, err)
		require.Len(t, view.Entries, 3)
		require.NoError(t, l.Trust(t.Context(), view.Entries[2]))
		require.Equal(t, version(9).Roles, view.Entries[2].Release().Roles)
		requireWhole(t, l)
		_, err = l.Withdraw(t.Context(), lock, 0, "old")
		require.ErrorContains(t, err, "cannot be withdrawn")
	})
}

func TestTheRecord0IsReadAtOnceWithTheFirst(t *testing.T) {
	store := &counting{Store: inMemory().store}
	l := ledger.New(store, app, ledger.Options{})
	lock := take(t, l)
	overFound(t, l, lock, version(9))
	settled(t, l, lock, 2) // the newest record is read too, by the lock
	store.asked = nil
	_, err := l.Read(t.Context(), 0)
	require.NoError(t, err)
	reads := slices.DeleteFunc(store.asked, func(what string) bool { return what != "read 000001" })
	require.Len(t, reads, 1)
}

func TestThePageThatEndsWithTheRecord0IsTheLast(t *testing.T) {
	l := ledger.New(inMemory().store, app, ledger.Options{})
	lock := take(t, l)
	overFound(t, l, lock, version(9))
	for n := 2; n <= 3; n++ {
		settled(t, l, lock, n)
	}
	pages := 0
	records, err := l.Newest(t.Context(), func([]release.Record) bool { pages++; return pages > 3 })
	require.NoError(t, err)
	require.Len(t, records, 4, "a page of records, #0 the last of them")
	require.Equal(t, 1, pages)
	for n := 4; n <= 15; n++ {
		settled(t, l, lock, n)
	}
	records, err = l.ListSince(t.Context(), time.Now().Add(-time.Hour), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 16)
}

func TestTheRecord0IsSplitMovedAndBroughtBackWithTheFirst(t *testing.T) {
	mirror, _ := newMirror(t, nil)
	opts := signed(t)
	opts.Mirror = mirror
	p := inMemory()
	l := ledger.New(p.store, app, opts)
	lock := take(t, l)
	big := large(t, 9, 2<<20)
	overFound(t, l, lock, big)
	settled(t, l, lock, 2)
	_, err := l.Copy(t.Context(), ledger.Copied{})
	require.NoError(t, err)
	records, err := l.List(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 3)
	require.Empty(t, records[2].Altered)

	moved := inMemory()
	_, err = ledger.Move(t.Context(), p.store, moved.store)
	require.NoError(t, err)
	lost := inMemory()
	back := ledger.New(lost.store, app, opts)
	_, err = back.Recover(t.Context(), take(t, back))
	require.NoError(t, err)
	for _, l := range []*ledger.Ledger{ledger.New(moved.store, app, opts), back} {
		zero, err := l.Read(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, big.Roles, zero.Release().Roles)
		requireWhole(t, l)
	}
}

func TestTheRecord0IsFoundInTheArchive(t *testing.T) {
	p, opts := inMemory(), signed(t)
	opts.Mirror, _ = newMirror(t, func(next http.Handler) http.Handler { return next })
	l := ledger.New(p.store, app, opts)
	underLock(t, l, func(lock *ledger.Lock) {
		overFound(t, l, lock, version(9))
		shipAndArchive(t, l, lock, 2, 264)
	})
	first, _ := storedNumbers(t, p.store)
	require.Equal(t, "000065", first)
	requireWhole(t, l)
	zero, err := l.Read(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, version(9).Roles, zero.Release().Roles)
	records, err := l.Newest(t.Context(), func(newest []release.Record) bool { return newest[len(newest)-1].Seq == 0 })
	require.NoError(t, err)
	require.Len(t, records, 265)
	require.True(t, records[264].Good())
	records, err = l.List(t.Context(), 5, 3)
	require.NoError(t, err)
	require.Len(t, records, 3)
}

func TestARecord0ThatSomebodyElseMadeIsNotRolledOut(t *testing.T) {
	opts := signed(t)
	p := inMemory()
	l := ledger.New(p.store, app, opts)
	overFound(t, l, take(t, l), version(9))
	stored, err := p.store.Read(t.Context(), "000001")
	require.NoError(t, err)

	t.Run("its objects", func(t *testing.T) {
		other := inMemory()
		forged := ledger.New(other.store, app, ledger.Options{})
		overFound(t, forged, take(t, forged), version(3))
		theirs := parts(t, other.store, "000001")
		next := inMemory()
		mixed := map[string][]byte{}
		for name, part := range stored.Parts {
			mixed[name] = part
		}
		mixed["adopted"], mixed["adopted.objects.json.gz"] = theirs["adopted"], theirs["adopted.objects.json.gz"]
		_, err := next.store.Create(t.Context(), ledger.StoredEntry{Name: "000001", Parts: mixed, Sealed: true})
		require.NoError(t, err)
		var altered *ledger.AlteredError
		_, err = ledger.New(next.store, app, opts).Read(t.Context(), 0)
		require.ErrorAs(t, err, &altered)
		_, err = ledger.New(next.store, app, opts).Read(t.Context(), 1)
		require.ErrorAs(t, err, &altered)
	})
	t.Run("before the first record was signed", func(t *testing.T) {
		other := inMemory()
		unsigned := ledger.New(other.store, app, ledger.Options{})
		overFound(t, unsigned, take(t, unsigned), version(3))
		_, err := ledger.New(other.store, app, opts).Read(t.Context(), 0)
		var altered *ledger.AlteredError
		require.ErrorAs(t, err, &altered)
		require.Equal(t, "signature", altered.Field)
	})
}
