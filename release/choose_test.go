package release_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

const (
	shaA = "aaaaaaa1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB = "bbbbbbb2bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	shaC = "ccccccc3cccccccccccccccccccccccccccccccc"
)

func good(seq int64, sha, version string) release.Record {
	return release.Record{Seq: seq, Kind: release.KindRelease, SHA: sha, Version: version, Outcome: release.Settled, Parity: true}
}

func rollback(seq, origin int64, sha string) release.Record {
	r := good(seq, sha, "")
	r.Kind, r.Origin = release.KindRollback, origin
	return r
}

func promotion(seq int64, sha string) release.Record {
	r := good(seq, sha, "")
	r.Kind = release.KindPromotion
	return r
}

func ended(r release.Record, outcome release.Outcome) release.Record {
	r.Outcome, r.Parity = outcome, false
	return r
}

func restoredTo(r release.Record, seq int64) release.Record {
	r.Restored = seq
	return r
}

func withdrawn(r release.Record) release.Record {
	r.Withdrawn = true
	return r
}

func TestChoose(t *testing.T) {
	a, b, c := good(1, shaA, "1.4.0"), good(2, shaB, "1.4.1"), good(3, shaC, "1.5.0-dev.1")
	for _, tc := range []struct {
		name    string
		records []release.Record
		to      string
		want    int64 // 0: none
	}{
		{"the newest good release before the current one", []release.Record{a, b}, "", 1},
		{"a failed one is passed over, in both places", []release.Record{a, b, ended(c, release.Restored)}, "", 1},
		{"records may come in any order", []release.Record{b, a}, "", 1},
		{"after a rollback it goes further back, not forth", []release.Record{a, b, c, rollback(4, 2, shaB)}, "", 1},
		{"from the first there is nowhere to go", []release.Record{a, b, rollback(3, 1, shaA)}, "", 0},
		{"the same commit again is no step back", []release.Record{a, good(2, shaA, "")}, "", 0},
		{"a withdrawn one is passed over", []release.Record{a, withdrawn(b), c}, "", 1},
		{"of a pending one it is not known what runs: back to the good one under it", []release.Record{a, b, ended(c, release.Pending)}, "", 2},
		{"under a failed one that was not put back, too", []release.Record{a, b, ended(c, release.Failed)}, "", 2},
		{"also if it is the only good one", []release.Record{a, ended(b, release.Pending)}, "", 1},
		{"also if several failed in a row", []release.Record{a, ended(b, release.Restored), ended(c, release.Failed)}, "", 1},
		{"a restored one runs the good one under it already", []release.Record{a, ended(b, release.Restored)}, "", 0},
		{"what was put back and withdrawn since runs still", []release.Record{a, withdrawn(b), restoredTo(ended(c, release.Restored), 2)}, "", 1},
		{"a withdrawn one runs still: back to the good one under it", []release.Record{a, b, withdrawn(c)}, "", 2},
		{"one that settled out of parity, too", []release.Record{a, b, ended(c, release.Settled)}, "", 2},
		{"under a failed one that a rollback was under", []release.Record{a, b, rollback(3, 1, shaA), ended(good(4, shaC, ""), release.Failed)}, "", 3},
		{"a rollback that was killed is begun again", []release.Record{a, b, c, ended(rollback(4, 2, shaB), release.Pending)}, "", 2},
		{"a rollback that failed is not: what ran before it is there", []release.Record{a, b, c, ended(rollback(4, 2, shaB), release.Failed)}, "", 3},
		{"nothing good under a pending one", []release.Record{ended(a, release.Failed), ended(b, release.Pending)}, "", 0},
		{"settled out of parity is not good", []release.Record{a, {Seq: 2, Outcome: release.Settled, SHA: shaB}, c}, "", 1},
		{"an empty ledger", nil, "", 0},

		{"by sequence number", []release.Record{a, b, c}, "2", 2},
		{"by sequence number as people write it", []release.Record{a, b, c}, "#1", 1},
		{"by prefix of a SHA", []release.Record{a, b, c}, "bbbbbbb2", 2},
		{"by SHA in capitals", []release.Record{a, b, c}, "AAAAAAA1", 1},
		{"by version", []release.Record{a, b, c}, "v1.4.0", 1},
		{"by constraint, the newest that fits", []release.Record{a, b, c}, "~1.4", 2},
		{"by constraint no pre-release", []release.Record{a, b, c}, ">=1.4", 2},
		{"by a constraint that takes pre-releases, a release before them", []release.Record{a, b, c}, ">=1.4-0", 2},
		{"and a pre-release where no release fits", []release.Record{a, b, c}, ">=1.5-0", 3},
		{"by name a pre-release", []release.Record{a, c, good(4, shaB, "1.5.0")}, "1.5.0-dev.1", 3},
		{"after a promotion it goes to the one before", []release.Record{promotion(1, shaA), promotion(2, shaB)}, "", 1},
		{"by name a failed one is refused", []release.Record{a, ended(b, release.Failed)}, "2", 0},
		{"by name a withdrawn one is refused", []release.Record{withdrawn(a), b}, shaA, 0},
		{"a SHA that failed once and was good once", []release.Record{good(1, shaA, ""), ended(good(2, shaA, ""), release.Restored)}, shaA, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := release.Choose(tc.records, tc.to)
			if tc.want == 0 {
				var none *release.NoneError
				require.ErrorAs(t, err, &none)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Seq)
		})
	}
	t.Run("what is no name at all is told", func(t *testing.T) {
		_, err := release.Choose([]release.Record{a}, "not a version")
		var unclear *release.UnclearError
		require.ErrorAs(t, err, &unclear)
		require.EqualError(t, err, `"not a version" is no sequence number, SHA, version or constraint`)
	})
}
