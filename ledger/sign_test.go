package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

func TestASlowSignerDoesNotDelayTheSeal(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		opts := signed(t)
		opts.Sign = func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done() // a signer that never answers
			return nil, context.Cause(ctx)
		}
		l := ledger.New(p.store, app, opts)
		begun, err := l.Begin(t.Context(), take(t, l), ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		start := time.Now()
		require.NoError(t, seal(t.Context(), l, begun, rec))
		require.Less(t, time.Since(start), 10*time.Second)
		stored, err := p.store.Read(t.Context(), "000001")
		require.NoError(t, err)
		require.True(t, stored.Sealed)
	})
}

// shipped begins the n-th release with its content signed, and settles it.
// The signature of its record is not brought.
func shipped(t *testing.T, l *ledger.Ledger, lock *ledger.Lock, rel release.Release, kept map[string][]byte) (ledger.Begun, ledger.Sealed) {
	t.Helper()
	content, err := l.SignContent(t.Context(), rel, kept)
	require.NoError(t, err)
	begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: rel, Attachments: content})
	require.NoError(t, err)
	rec := begun.Record
	rec.Outcome, rec.Parity = release.Settled, true
	sealed, err := l.Seal(t.Context(), begun, rec)
	require.NoError(t, err)
	return begun, sealed
}

// without is a ledger of the same records whose signer is away.
func without(p place, opts ledger.Options) *ledger.Ledger {
	opts.Sign = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("the signer is away") }
	return ledger.New(p.store, app, opts)
}

func TestWhatIsNotYetSignedIsTrustedIfItIsOurs(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		opts := signed(t)
		l := ledger.New(p.store, app, opts)
		lock := take(t, l)
		_, sealed := shipped(t, l, lock, version(1), nil)
		_, err := without(p, opts).Sign(t.Context(), sealed)
		require.ErrorContains(t, err, "the signer is away")

		entry, err := l.Read(t.Context(), 1)
		require.NoError(t, err, "its content was signed before it ran")
		require.Nil(t, entry.Signature)
		require.True(t, entry.Record.Good())

		// A rollback to it takes the signature of the content along, and needs no signer.
		back := entry.Release()
		back.Kind, back.Origin = release.KindRollback, 1
		second, _ := shipped(t, without(p, opts), lock, back, entry.Attachments)
		rolledBack, err := l.Read(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, entry.Attachments, rolledBack.Attachments)

		// Until then it is told, and the next run brings both.
		faults, err := l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 1, Kind: ledger.FaultUnsigned, Field: "signature"})
		require.Equal(t, int64(2), second.Record.Seq)
		third, sealed := shipped(t, l, lock, version(3), nil)
		brought, err := l.SignEarlier(t.Context(), third)
		require.NoError(t, err)
		require.Len(t, brought, 2)
		_, err = l.Sign(t.Context(), sealed)
		require.NoError(t, err)
		brought, err = l.SignEarlier(t.Context(), third)
		require.NoError(t, err)
		require.Empty(t, brought, "they are there")
		requireWhole(t, l)
	})
}

func TestARollbackOfASignedRecordIsOursToo(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		opts := signed(t)
		l := ledger.New(p.store, app, opts)
		lock := take(t, l)
		settled(t, l, lock, 1) // from before contents were signed
		back := version(1)
		back.Kind, back.Origin = release.KindRollback, 1
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: back})
		require.NoError(t, err)
		rec := begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		require.NoError(t, seal(t.Context(), l, begun, rec))
		_, err = l.Read(t.Context(), 2)
		require.NoError(t, err)
	})
}

func TestWhatIsNotOursIsNeitherTrustedNorSigned(t *testing.T) {
	for what, forge := range map[string]func(t *testing.T, p place, forged map[string][]byte){
		"without a signature of its content": func(_ *testing.T, _ place, forged map[string][]byte) {
			delete(forged, "attached.content.sig")
		},
		"with the signature of another content": func(t *testing.T, p place, forged map[string][]byte) {
			forged["attached.content.sig"] = parts(t, p.store, "000001")["attached.content.sig"]
		},
		"with another digest": func(_ *testing.T, _ place, forged map[string][]byte) {
			forged["record"] = bytes.ReplaceAll(forged["record"], []byte("sha256:a"), []byte("sha256:f"))
		},
		"that does not follow the one before": func(t *testing.T, p place, _ map[string][]byte) {
			p.forge(t, "000001", with(parts(t, p.store, "000001"), "record", `"1.1.0"`, `"1.1.1"`))
		},
		"that says it repeats one that is not good": func(_ *testing.T, _ place, forged map[string][]byte) {
			delete(forged, "attached.content.sig")
			forged["record"] = bytes.Replace(forged["record"], []byte(`"outcome"`), []byte(`"origin": 1, "outcome"`), 1)
		},
	} {
		t.Run("a record "+what, func(t *testing.T) {
			onEveryStore(t, func(t *testing.T, p place) {
				l := ledger.New(p.store, app, signed(t))
				lock := take(t, l)
				_, first := shipped(t, l, lock, version(1), nil)
				_, err := l.Sign(t.Context(), first)
				require.NoError(t, err)
				shipped(t, l, lock, version(2), nil)
				_, err = l.Read(t.Context(), 2)
				require.NoError(t, err)

				forged := parts(t, p.store, "000002")
				forge(t, p, forged)
				p.forge(t, "000002", forged)
				_, err = l.Read(t.Context(), 2)
				var altered *ledger.AlteredError
				require.ErrorAs(t, err, &altered)
				require.Equal(t, int64(2), altered.Seq)

				begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(3)})
				require.NoError(t, err)
				brought, err := l.SignEarlier(t.Context(), begun)
				require.NoError(t, err)
				require.Empty(t, brought)
			})
		})
	}
}

func TestWhatAKilledRunLeftCanBeSettledByTheNext(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := ledger.New(p.store, app, ledger.Options{})
		lock, err := l.Lock(t.Context(), ledger.LockOptions{TTL: time.Hour})
		require.NoError(t, err)
		_, found, err := l.Left(t.Context(), lock)
		require.NoError(t, err)
		require.False(t, found)
		killed, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: version(1)})
		require.NoError(t, err)
		diesUnheard(t, p.store)

		next := take(t, l)
		left, found, err := l.Left(t.Context(), next)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, killed.Record, left.Begun.Record)
		rec := left.Begun.Record
		rec.Outcome, rec.Parity = release.Settled, true
		require.NoError(t, seal(t.Context(), l, left.Begun, rec))
		var lost *ledger.LostError
		require.ErrorAs(t, seal(t.Context(), l, killed, killed.Record), &lost)
		entry, err := l.Read(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, entry.Record.Good())
		require.Equal(t, killed.Record.Fence, entry.Record.Fence, "it says who began it")
		require.Equal(t, int64(2), settled(t, l, next, 2).Seq)
		requireWhole(t, l)
	})
}
