package ledger_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// large is a release with so many bytes of manifests, which compress badly.
func large(t *testing.T, n, size int) release.Release {
	t.Helper()
	source := rand.NewChaCha8([32]byte{byte(n)})
	rel := version(n)
	for i, part := 0, 512<<10; size > 0; i, size = i+1, size-part {
		noise := make([]byte, min(part, size)*3/4)
		_, _ = source.Read(noise)
		object, err := json.Marshal(map[string]any{"kind": "ConfigMap", "metadata": map[string]string{"name": fmt.Sprint("data-", i)}, "binaryData": map[string][]byte{"noise": noise}})
		require.NoError(t, err)
		rel.Roles[0].Objects = append(rel.Roles[0].Objects, object)
	}
	return rel
}

func TestALargeReleaseIsKeptInSeveralEntries(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		mirror, _ := newMirror(t, nil)
		l := ledger.New(p.store, app, ledger.Options{Mirror: mirror})
		lock := take(t, l)
		rel := large(t, 1, p.manifests)
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: rel, Attachments: map[string][]byte{"note.txt": []byte("text")}})
		require.NoError(t, err)
		ahead, err := l.CopyAhead(t.Context(), begun)
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		sealed, err := l.Seal(t.Context(), begun, rec)
		require.NoError(t, err)
		copied, err := l.Copy(t.Context(), ahead, sealed)
		require.NoError(t, err)
		require.Equal(t, 1, copied)
		requireWhole(t, l)

		entry, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, rel.Roles, entry.Release().Roles)
		require.Equal(t, map[string][]byte{"note.txt": []byte("text")}, entry.Attachments)
		view, err := l.View(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, rel.Roles, view.Entries[0].Release().Roles)
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Equal(t, []release.Record{rec}, records)

		// A rollback to it is stored as well, and what was altered is named.
		back := entry.Release()
		back.Kind, back.Origin = release.KindRollback, 1
		_, err = l.Begin(t.Context(), lock, ledger.PendingRecord{Release: back, Attachments: entry.Attachments})
		require.NoError(t, err)
		chunks, err := p.store.Names(t.Context(), "part")
		require.NoError(t, err)
		require.Greater(t, len(chunks), p.manifests/(1<<20))
		var first string
		for _, name := range chunks {
			if name[:6] == "000001" {
				first = name
			}
		}
		p.forge(t, first, map[string][]byte{"chunk": []byte("another")})
		_, err = l.Read(t.Context(), 1)
		var altered *ledger.AlteredError
		require.ErrorAs(t, err, &altered)
		require.Equal(t, "objects.json.gz", altered.Field)
		faults, err := l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 1, Kind: ledger.FaultAltered, Location: p.store.Location(), Field: "objects.json.gz"})
		view, err = l.View(t.Context(), 2)
		require.NoError(t, err)
		require.NotEmpty(t, view.Entries[1].Record.Altered)
	})
}

func TestPartsThatAKilledRunLeftAreUsedOrIgnored(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock := take(t, l)
		first, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: large(t, 1, 2<<20)})
		require.NoError(t, err)
		p.forge(t, "000001", nil) // as if it had been killed before it began

		other := ledger.New(p.store, app, ledger.Options{})
		require.NoError(t, lock.Unlock(t.Context()))
		p.loseLock(t)
		next := take(t, other)
		rec, err := other.Begin(t.Context(), next, ledger.PendingRecord{Release: large(t, 1, 2<<20)})
		require.NoError(t, err)
		require.Equal(t, first.Record.Seq, rec.Record.Seq)
		_, err = other.Read(t.Context(), 1)
		require.NoError(t, err)
	})
}
