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

func ended(r release.Record, outcome release.Outcome) release.Record {
	r.Outcome, r.Parity = outcome, false
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
		{"a pending one is not good", []release.Record{a, ended(b, release.Pending)}, "", 0},
		{"settled out of parity is not good", []release.Record{a, {Seq: 2, Outcome: release.Settled, SHA: shaB}, c}, "", 1},
		{"an empty ledger", nil, "", 0},

		{"by sequence number", []release.Record{a, b, c}, "2", 2},
		{"by sequence number as people write it", []release.Record{a, b, c}, "#1", 1},
		{"by prefix of a SHA", []release.Record{a, b, c}, "bbbbbbb2", 2},
		{"by SHA in capitals", []release.Record{a, b, c}, "AAAAAAA1", 1},
		{"by version", []release.Record{a, b, c}, "v1.4.0", 1},
		{"by constraint, the newest that fits", []release.Record{a, b, c}, "~1.4", 2},
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
