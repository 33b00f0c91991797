package ledger_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
)

func TestMoveTakesEverythingToAnEmptyStore(t *testing.T) {
	from, to := ledgertest.NewStore(), ledgertest.NewStore()
	_, err := from.Create(t.Context(), ledger.StoredEntry{Name: "000001", Parts: map[string][]byte{"record": []byte("a")}, Sealed: true})
	require.NoError(t, err)
	_, err = from.Create(t.Context(), ledger.StoredEntry{Name: "000001-withdrawn", Parts: map[string][]byte{"record": []byte("b")}, Sealed: true})
	require.NoError(t, err)
	moved, err := ledger.Move(t.Context(), from, to)
	require.NoError(t, err)
	require.Equal(t, 2, moved)
	got, err := to.Read(t.Context(), "000001-withdrawn")
	require.NoError(t, err)
	require.True(t, got.Sealed)
	require.Equal(t, []byte("b"), got.Parts["record"])

	_, err = from.Create(t.Context(), ledger.StoredEntry{Name: "000002", Parts: map[string][]byte{"record": []byte("c")}})
	require.NoError(t, err)
	moved, err = ledger.Move(t.Context(), from, to)
	require.NoError(t, err)
	require.Zero(t, moved, "what has records of its own keeps them")
}

// dying is a store that takes only so many entries.
type dying struct {
	ledger.Store
	left int
}

func (d *dying) Create(ctx context.Context, e ledger.StoredEntry) (string, error) {
	if d.left--; d.left < 0 {
		return "", errors.New("killed")
	}
	return d.Store.Create(ctx, e)
}

func TestAMoveThatWasKilledIsBegunAgain(t *testing.T) {
	p := inMemory()
	opts := signed(t)
	l := threeRecords(t, p, opts)
	lock := take(t, l)
	_, sealed := shipped(t, l, lock, large(t, 4, 2<<20), nil)
	_, err := l.Sign(t.Context(), sealed)
	require.NoError(t, err)
	require.NoError(t, withdraw(t.Context(), l, lock, 2, "CVE-2026-1"))
	for left := range 12 {
		to := ledgertest.NewStore()
		_, err := ledger.Move(t.Context(), p.store, &dying{to, left})
		require.Error(t, err)
		_, err = ledger.Move(t.Context(), p.store, to)
		require.NoError(t, err)
		moved := ledger.New(to, app, opts)
		requireWhole(t, moved)
		entry, err := moved.Read(t.Context(), 4)
		require.NoError(t, err)
		require.Equal(t, large(t, 4, 2<<20).Roles, entry.Release().Roles)
	}
}
