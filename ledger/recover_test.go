package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
)

func TestALostStoreIsBroughtBackFromTheRegistry(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		mirror, _ := newMirror(t, nil)
		opts := signed(t)
		opts.Mirror = mirror
		before := ledger.New(inMemory().store, app, opts)
		lock := take(t, before)
		for n := 1; n <= 3; n++ {
			settled(t, before, lock, n)
		}
		_, sealed := shipped(t, before, lock, large(t, 4, 2<<20), nil) // and its signature was not brought
		marks, err := before.Withdraw(t.Context(), lock, 2, "CVE-2026-1")
		require.NoError(t, err)
		_, err = before.Sign(t.Context(), marks...)
		require.NoError(t, err)
		_, err = before.Copy(t.Context(), ledger.Copied{}, append(marks, sealed)...)
		require.NoError(t, err)
		wanted, err := before.List(t.Context(), 0, 0)
		require.NoError(t, err)

		l := ledger.New(p.store, app, opts)
		next := take(t, l)
		count, err := l.Recover(t.Context(), next)
		require.NoError(t, err)
		require.Greater(t, count, 9, "four records, three signatures, a withdrawal with its signature, and parts")
		again, err := l.Recover(t.Context(), next)
		require.NoError(t, err)
		require.Zero(t, again)
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Equal(t, wanted, records)
		entry, err := l.Read(t.Context(), 4)
		require.NoError(t, err)
		require.Equal(t, large(t, 4, 2<<20).Roles, entry.Release().Roles)
		require.Equal(t, int64(5), settled(t, l, next, 5).Seq)
	})
}

func TestWhatDoesNotHoldIsNotBroughtBack(t *testing.T) {
	mirror, _ := newMirror(t, nil)
	opts := signed(t)
	p := inMemory()
	threeRecords(t, p, opts)
	for _, entry := range []string{"000001", "000003", "000001-signature", "000002-signature", "000003-signature"} {
		require.NoError(t, mirror.Put(t.Context(), entry, parts(t, p.store, entry)))
	}
	require.NoError(t, mirror.Put(t.Context(), "000002", with(parts(t, p.store, "000002"), "record", `"1.2.0"`, `"9.9.9"`)))
	opts.Mirror = mirror
	lost := inMemory()
	recovering := ledger.New(lost.store, app, opts)
	count, err := recovering.Recover(t.Context(), take(t, recovering))
	var altered *ledger.AlteredError
	require.ErrorAs(t, err, &altered)
	require.Equal(t, int64(2), altered.Seq)
	require.Zero(t, count)
	names, err := lost.store.Names(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, names)
}
