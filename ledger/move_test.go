package ledger_test

import (
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
