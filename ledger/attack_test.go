package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// signed are options that sign with a key of the test's own.
func signed(t *testing.T) ledger.Options {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return ledger.Options{
		Sign: func(_ context.Context, content []byte) ([]byte, error) { return ed25519.Sign(private, content), nil },
		VerifySignature: func(_ context.Context, content, signature []byte) error {
			if signature == nil {
				return nil // a careless verifier
			}
			if !ed25519.Verify(public, content, signature) {
				return errors.New("it was not made over these bytes by this key")
			}
			return nil
		},
	}
}

// parts reads an entry as it is stored.
func parts(t *testing.T, store ledger.Store, name string) map[string][]byte {
	t.Helper()
	found, err := store.Read(t.Context(), name)
	require.NoError(t, err)
	require.NotEmpty(t, found.Version)
	return found.Parts
}

// with changes one part of an entry by replacing text in it.
func with(entry map[string][]byte, part, old, new string) map[string][]byte {
	entry = maps.Clone(entry)
	entry[part] = bytes.Replace(entry[part], []byte(old), []byte(new), 1)
	return entry
}

func TestWhatWasAlteredIsNamed(t *testing.T) {
	attacks := map[string]struct {
		forge func(t *testing.T, p place)
		fault ledger.Fault // Place and Message apart
		read  int64        // the record that Read must refuse; 0: none
	}{
		"an outcome in the middle of the chain": {
			forge: func(t *testing.T, p place) {
				p.forge(t, "000002", with(parts(t, p.store, "000002"), "record", `"settled"`, `"failed"`))
			},
			fault: ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Field: "previousHash"}, read: 2,
		},
		"a digest in the rendered objects": {
			forge: func(t *testing.T, p place) {
				forged := parts(t, p.store, "000002")
				forged["objects.json.gz"] = parts(t, p.store, "000001")["objects.json.gz"]
				p.forge(t, "000002", forged)
			},
			fault: ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Field: "objects"}, read: 2,
		},
		"the newest record, which only its signature covers": {
			forge: func(t *testing.T, p place) {
				p.forge(t, "000003", with(parts(t, p.store, "000003"), "record", `"parity": true`, `"parity": false`))
			},
			fault: ledger.Fault{Seq: 3, Kind: ledger.FaultAltered, Field: "signature"}, read: 3,
		},
		"a signature that was taken away": {
			forge: func(t *testing.T, p place) {
				p.forge(t, "000001-signature", nil)
			},
			fault: ledger.Fault{Seq: 1, Kind: ledger.FaultUnsigned, Field: "signature"}, read: 1,
		},
		"a signature of another record": {
			forge: func(t *testing.T, p place) {
				p.forge(t, "000001-signature", parts(t, p.store, "000002-signature"))
			},
			fault: ledger.Fault{Seq: 1, Kind: ledger.FaultAltered, Field: "signature"}, read: 1,
		},
		"a signature within the record, as it was stored once, of another record": {
			forge: func(t *testing.T, p place) {
				forged := parts(t, p.store, "000001")
				forged["record.sig"] = parts(t, p.store, "000002-signature")["record.sig"]
				p.forge(t, "000001", forged)
			},
			fault: ledger.Fault{Seq: 1, Kind: ledger.FaultAltered, Field: "signature"}, read: 1,
		},
		"an older record under a newer number": {
			forge: func(t *testing.T, p place) { p.forge(t, "000002", parts(t, p.store, "000001")) },
			fault: ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Field: "seq"}, read: 2,
		},
		"bytes that are no record": {
			forge: func(t *testing.T, p place) {
				p.forge(t, "000002", map[string][]byte{"record": []byte("gone")})
			},
			fault: ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Field: "record"}, read: 2,
		},
		"a record that was taken out": {
			forge: func(t *testing.T, p place) { p.forge(t, "000002", nil) },
			fault: ledger.Fault{Seq: 2, Kind: ledger.FaultMissing},
		},
		"the newest record taken away, which the lock remembers": {
			forge: func(t *testing.T, p place) { p.forge(t, "000003", nil) },
			fault: ledger.Fault{Seq: 3, Kind: ledger.FaultMissing},
		},
	}
	for what, attack := range attacks {
		t.Run(what, func(t *testing.T) {
			onEveryStore(t, func(t *testing.T, p place) {
				l := threeRecords(t, p, signed(t))
				attack.forge(t, p)

				faults, err := l.Verify(t.Context(), 0)
				require.NoError(t, err)
				requireFault(t, faults, attack.fault)
				if attack.read == 0 {
					return
				}
				_, err = l.Read(t.Context(), attack.read)
				var altered *ledger.AlteredError
				require.ErrorAs(t, err, &altered)
				require.Equal(t, attack.read, altered.Seq)
				require.Equal(t, attack.fault.Field, altered.Field)
			})
		})
	}
}

// threeRecords ships three releases; the lock is free again and knows of them.
func threeRecords(t *testing.T, p place, opts ledger.Options) *ledger.Ledger {
	t.Helper()
	l := ledger.New(p.store, app, opts)
	lock, err := l.Lock(t.Context(), ledger.LockOptions{})
	require.NoError(t, err)
	for n := 1; n <= 3; n++ {
		settled(t, l, lock, n)
	}
	require.NoError(t, lock.Unlock(t.Context()))
	opts.Mirror = nil
	requireWhole(t, ledger.New(p.store, app, opts))
	return l
}

func requireFault(t *testing.T, faults []ledger.Fault, want ledger.Fault) {
	t.Helper()
	for _, f := range faults {
		if f.Seq == want.Seq && f.Kind == want.Kind && f.Field == want.Field && (want.Location == "" || f.Location == want.Location) &&
			strings.Contains(f.Message, want.Message) {
			return
		}
	}
	require.Failf(t, "a fault was not found", "%v is not among %v", want, faults)
}

func TestAnAlteredRecordIsShownAndNeverChosen(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := threeRecords(t, p, ledger.Options{})
		p.forge(t, "000002", with(parts(t, p.store, "000002"), "record", `"1.2.0"`, `"1.9.0"`))
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, records, 3)
		require.Contains(t, records[1].Altered, "previousHash")
		chosen, err := release.Choose(records, "")
		require.NoError(t, err)
		require.Equal(t, int64(1), chosen.Seq)

		p.forge(t, "000003", with(parts(t, p.store, "000003"), "record", `"settled"`, `"failed"`))
		view, err := l.View(t.Context(), 3)
		require.NoError(t, err)
		recent := view.Entries
		require.Len(t, recent, 3)
		require.Contains(t, recent[1].Record.Altered, "previousHash")
		require.False(t, recent[0].Record.Good(), "it says that it failed")
		require.True(t, recent[2].Record.Good())

		// Damage in the past does not stop the next release, and its number is new.
		p.forge(t, "000003", nil)
		lock := take(t, l)
		require.Equal(t, int64(4), settled(t, l, lock, 4).Seq)
	})
}

func TestAnOutcomeThatWasNeverSealedIsNoneAtAll(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		l := threeRecords(t, p, signed(t))
		forged := parts(t, p.store, "000003")
		p.forge(t, "000003-signature", nil)
		p.forge(t, "000003", nil)
		version, err := p.store.Create(t.Context(), ledger.StoredEntry{Name: "000003", Parts: forged})
		require.NoError(t, err)
		require.NotEmpty(t, version)

		_, err = l.Read(t.Context(), 3)
		var altered *ledger.AlteredError
		require.ErrorAs(t, err, &altered)
		require.Equal(t, "outcome", altered.Field)
		view, err := l.View(t.Context(), 1)
		require.NoError(t, err)
		require.False(t, view.Entries[0].Record.Good())

		// Nor does the next run seal and sign it as it stands.
		lock := take(t, l)
		require.Equal(t, int64(4), settled(t, l, lock, 4).Seq)
		entry, err := l.Read(t.Context(), 3)
		require.NoError(t, err)
		require.Equal(t, release.Pending, entry.Record.Outcome)
		require.Contains(t, entry.Record.Reason, "it said settled, and was never sealed")
	})
}

func TestAWithdrawnReleaseNeverRunsAgain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		opts := signed(t)
		l := threeRecords(t, p, opts)
		lock := take(t, l)
		var missing *ledger.MissingError
		require.ErrorAs(t, withdraw(t.Context(), l, lock, 8, "no such thing"), &missing)
		require.NoError(t, withdraw(t.Context(), l, lock, 2, "CVE-2026-1"))
		require.NoError(t, withdraw(t.Context(), l, lock, 2, "again"))

		entry, err := l.Read(t.Context(), 2)
		require.NoError(t, err)
		require.True(t, entry.Record.Withdrawn)
		require.NotContains(t, string(entry.Raw), "withdrawn", "the record stays as it was sealed")
		records, err := l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.False(t, records[1].Good())
		chosen, err := release.Choose(records, "")
		require.NoError(t, err)
		require.Equal(t, int64(1), chosen.Seq)
		_, err = release.Choose(records, "2")
		require.Error(t, err)
		requireWhole(t, l)

		// A rollback to it is withdrawn with it, and marking the rollback marks the release.
		back := version(1)
		back.Kind, back.Origin = release.KindRollback, 1
		begun, err := l.Begin(t.Context(), lock, ledger.PendingRecord{Release: back})
		require.NoError(t, err)
		rec := begun.Record
		require.Equal(t, []int64{2}, rec.Withdrawals)
		rec.Outcome, rec.Parity = release.Settled, true
		require.NoError(t, seal(t.Context(), l, begun, rec))
		require.NoError(t, withdraw(t.Context(), l, lock, rec.Seq, "that too"))
		records, err = l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.True(t, records[0].Withdrawn)
		require.True(t, records[3].Withdrawn)

		// Once another release began, taking the mark away does not bring it back.
		p.forge(t, "000002-withdrawn", nil)
		records, err = l.List(t.Context(), 0, 0)
		require.NoError(t, err)
		require.True(t, records[2].Withdrawn)
		faults, err := l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 2, Kind: ledger.FaultMissing, Field: "withdrawn"})
	})
}

func newMirror(t *testing.T, wrap func(http.Handler) http.Handler) (*ledger.RegistryMirror, string) {
	t.Helper()
	handler := registry.New(registry.Logger(discard()))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/joelhooks/worker/releases")
	require.NoError(t, err)
	return ledger.NewRegistryMirror(repository), repository.Name()
}

func TestTheCopyInTheRegistryShowsWhichSideWasAltered(t *testing.T) {
	onEveryStore(t, func(t *testing.T, p place) {
		mirror, where := newMirror(t, nil)
		opts := signed(t)
		opts.Mirror = mirror
		l := threeRecords(t, p, opts)
		faults, err := l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 3, Kind: ledger.FaultUncopied, Location: where})

		lock := take(t, l)
		sealed, err := l.Withdraw(t.Context(), lock, 1, "old")
		require.NoError(t, err)
		_, err = l.Sign(t.Context(), sealed...)
		require.NoError(t, err)
		copied, err := l.Copy(t.Context(), ledger.Copied{}, sealed...)
		require.NoError(t, err)
		require.Equal(t, 8, copied, "three records and a mark, each with its signature")
		copied, err = l.Copy(t.Context(), ledger.Copied{})
		require.NoError(t, err)
		require.Zero(t, copied)
		requireWhole(t, l)

		good := parts(t, p.store, "000002")
		p.forge(t, "000002", with(good, "record", `"1.2.0"`, `"9.9.9"`))
		faults, err = l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Location: p.store.Location(), Field: "version", Message: `"9.9.9"`})

		var different *ledger.DifferentError
		require.ErrorAs(t, mirror.Put(t.Context(), "000002", parts(t, p.store, "000002")), &different)

		// The same forgery on both sides: the chain and the signature speak against both.
		forged, _ := newMirror(t, nil)
		for _, entry := range []string{"000001", "000002", "000003", "000001-withdrawn", "000001-signature", "000002-signature", "000003-signature", "000001-signature-withdrawn"} {
			require.NoError(t, forged.Put(t.Context(), entry, parts(t, p.store, entry)))
		}
		opts.Mirror = forged
		faults, err = ledger.New(p.store, app, opts).Verify(t.Context(), 0)
		require.NoError(t, err)
		for _, place := range []string{p.store.Location(), forged.Location()} {
			requireFault(t, faults, ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Location: place, Field: "previousHash"})
			requireFault(t, faults, ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Location: place, Field: "signature"})
		}

		// Only in the registry.
		p.forge(t, "000002", good)
		faults, err = ledger.New(p.store, app, opts).Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 2, Kind: ledger.FaultAltered, Location: forged.Location(), Field: "version", Message: `"9.9.9"`})

		// Taken away in the store, the mark included.
		p.forge(t, "000001-withdrawn", nil)
		faults, err = l.Verify(t.Context(), 0)
		require.NoError(t, err)
		requireFault(t, faults, ledger.Fault{Seq: 1, Kind: ledger.FaultMissing, Location: p.store.Location(), Field: "withdrawn", Message: where})
	})
}

func TestACopyIsAnArtifactOfItsOwnType(t *testing.T) {
	var manifest []byte
	mirror, _ := newMirror(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/000001") {
				body := new(bytes.Buffer)
				_, _ = body.ReadFrom(r.Body)
				manifest, r.Body = body.Bytes(), http.NoBody
				r2 := r.Clone(r.Context())
				r2.Body = readCloser{bytes.NewReader(manifest)}
				next.ServeHTTP(w, r2)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	entry := map[string][]byte{"record": []byte(`{"seq":1}`), "objects.json.gz": {1, 2, 3}}
	require.NoError(t, mirror.Put(t.Context(), "000001", entry))
	require.NoError(t, mirror.Put(t.Context(), "000001", entry), "the same again is nothing to do")
	var made struct {
		ArtifactType string
		Config       struct{ MediaType string }
		Layers       []any
		Annotations  map[string]string
	}
	require.NoError(t, json.Unmarshal(manifest, &made))
	require.Equal(t, ledger.RecordType, made.ArtifactType)
	require.Equal(t, ledger.RecordType, made.Config.MediaType)
	require.Len(t, made.Layers, 1, "the record is no layer")
	require.Equal(t, base64.StdEncoding.EncodeToString(entry["record"]), made.Annotations["dev.shipit.part.record"])
	back, err := mirror.Get(t.Context(), "000001")
	require.NoError(t, err)
	require.Equal(t, entry, back)
	none, err := mirror.Get(t.Context(), "000002")
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestARegistryThatServesOtherBytesUnderTheDigestIsCaught(t *testing.T) {
	lie := false
	mirror, _ := newMirror(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lie && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = w.Write([]byte(`{"seq":2}`))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	require.NoError(t, mirror.Put(t.Context(), "000001", map[string][]byte{"record": []byte(`{"seq":1}`), "objects.json.gz": {1, 2, 3}}))
	lie = true
	_, err := mirror.Get(t.Context(), "000001")
	require.ErrorContains(t, err, "part objects.json.gz")
}
