package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/ledger/ledgertest"
	"github.com/joelhooks/shipit/release"
)

// A seal adds the outcome: it cannot make a promotion of something else, or from elsewhere.
func TestASealLeavesWhereAPromotionComesFrom(t *testing.T) {
	l := ledger.New(ledgertest.NewStore(), app, ledger.Options{})
	rel := version(1)
	rel.Kind = release.KindPromotion
	rel.From = &release.Promoted{Environment: "staging", Seq: 12, SHA: rel.SHA}
	begun, err := l.Begin(t.Context(), take(t, l), ledger.PendingRecord{Release: rel, Environment: "production"})
	require.NoError(t, err)
	rec := begun.Record
	rec.Outcome, rec.From, rec.Environment, rec.Kind = release.Failed, nil, "staging", release.KindRelease
	require.NoError(t, seal(t.Context(), l, begun, rec))
	entry, err := l.Read(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, rel.From, entry.Record.From)
	require.Equal(t, rel.From, entry.Release().From)
	require.Equal(t, "production", entry.Record.Environment)
	require.Equal(t, release.KindPromotion, entry.Record.Kind)
	require.Equal(t, release.Failed, entry.Record.Outcome)
}
