package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/ledger"
)

// Run checks a store by the contract of ledger.Store. open makes an empty one.
func Run(t *testing.T, open func(t *testing.T) ledger.Store) {
	contract := map[string]func(*testing.T, ledger.Store){
		"what is not there has no version":             whatIsNotThere,
		"what was stored is read back, bit by bit":     whatWasKept,
		"a name is given once":                         aNameIsGivenOnce,
		"an entry is written only as it was read":      anEntryIsWrittenAsRead,
		"a sealed entry is never written again":        aSealedEntryStays,
		"entries are listed and scanned by their kind": entriesByKind,
		"the lock is written only as it was read":      theLockIsWrittenAsRead,
		"of many writers one wins":                     ofManyWritersOneWins,
		"a context that has ended writes nothing":      anEndedContext,
		"what is dropped is gone, and nothing else":    whatIsDropped,
	}
	for what, holds := range contract {
		t.Run(what, func(t *testing.T) { holds(t, open(t)) })
	}
}

func entry(name, record string, sealed bool) ledger.StoredEntry {
	return ledger.StoredEntry{Name: name, Parts: map[string][]byte{"record": []byte(record)}, Sealed: sealed}
}

func create(t *testing.T, store ledger.Store, e ledger.StoredEntry) ledger.StoredEntry {
	t.Helper()
	version, err := store.Create(t.Context(), e)
	require.NoError(t, err)
	require.NotEmpty(t, version)
	e.Version = version
	return e
}

func requireKept(t *testing.T, store ledger.Store, want ledger.StoredEntry) {
	t.Helper()
	got, err := store.Read(t.Context(), want.Name)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func whatIsNotThere(t *testing.T, store ledger.Store) {
	e, err := store.Read(t.Context(), "000001")
	require.NoError(t, err)
	require.Empty(t, e.Version)
	lock, err := store.ReadLock(t.Context())
	require.NoError(t, err)
	require.Empty(t, lock.Version)
	names, err := store.Names(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoError(t, store.Scan(t.Context(), "", func(ledger.StoredEntry) error { return errors.New("there is one") }))
	e = entry("000001", "{}", false)
	e.Version = "1"
	version, err := store.Swap(t.Context(), e)
	require.NoError(t, err)
	require.Empty(t, version, "what is not there cannot be replaced")
	require.NotEmpty(t, store.Location())
}

func whatWasKept(t *testing.T, store ledger.Store) {
	e := entry("000001", "{\"text\": \"a<b && c>d\"}\n", false)
	e.Parts["binary.gz"] = []byte{0xff, 0x00, 0x80, '\n'}
	e.Parts["attached.empty"] = []byte{}
	e = create(t, store, e)
	requireKept(t, store, e)
	e.Parts["record"], e.Sealed = []byte("{}"), true
	version, err := store.Swap(t.Context(), e)
	require.NoError(t, err)
	require.NotEmpty(t, version)
	require.NotEqual(t, e.Version, version)
	e.Version = version
	requireKept(t, store, e)
}

func aNameIsGivenOnce(t *testing.T, store ledger.Store) {
	first := create(t, store, entry("000001", `{"by":1}`, false))
	for _, again := range []ledger.StoredEntry{entry("000001", `{"by":2}`, false), entry("000001", `{"by":1}`, true)} {
		version, err := store.Create(t.Context(), again)
		require.NoError(t, err)
		require.Empty(t, version)
	}
	requireKept(t, store, first)
}

func anEntryIsWrittenAsRead(t *testing.T, store ledger.Store) {
	stale := create(t, store, entry("000001", `{"by":1}`, false))
	next := stale
	next.Parts = map[string][]byte{"record": []byte(`{"by":2}`)}
	version, err := store.Swap(t.Context(), next)
	require.NoError(t, err)
	require.NotEmpty(t, version)
	next.Version = version
	stale.Parts = map[string][]byte{"record": []byte(`{"by":3}`)}
	version, err = store.Swap(t.Context(), stale)
	require.NoError(t, err)
	require.Empty(t, version)
	requireKept(t, store, next)
}

func aSealedEntryStays(t *testing.T, store ledger.Store) {
	for name, sealed := range map[string]ledger.StoredEntry{
		"created so": create(t, store, entry("000001", "{}", true)),
		"sealed later": func() ledger.StoredEntry {
			e := create(t, store, entry("000002", "{}", false))
			e.Sealed = true
			version, err := store.Swap(t.Context(), e)
			require.NoError(t, err)
			require.NotEmpty(t, version)
			e.Version = version
			return e
		}(),
	} {
		for _, seal := range []bool{false, true} {
			next := entry(sealed.Name, `{"by":2}`, seal)
			next.Version = sealed.Version
			version, err := store.Swap(t.Context(), next)
			require.NoError(t, err)
			require.Empty(t, version, name)
		}
		requireKept(t, store, sealed)
	}
}

func entriesByKind(t *testing.T, store ledger.Store) {
	for _, name := range []string{"000001", "000002", "1000000", "000001-withdrawn", "000002-objects-1", "000002-objects-2"} {
		create(t, store, entry(name, `"`+name+`"`, name != "000002"))
	}
	for kind, want := range map[string][]string{
		"": {"000001", "000002", "1000000"}, "withdrawn": {"000001-withdrawn"},
		"objects": {"000002-objects-1", "000002-objects-2"}, "object": nil,
	} {
		names, err := store.Names(t.Context(), kind)
		require.NoError(t, err)
		require.ElementsMatch(t, want, names, kind)
		var scanned []string
		require.NoError(t, store.Scan(t.Context(), kind, func(e ledger.StoredEntry) error {
			scanned = append(scanned, e.Name)
			requireKept(t, store, e)
			return nil
		}))
		require.ElementsMatch(t, want, scanned, kind)
	}
	enough := errors.New("enough")
	require.ErrorIs(t, store.Scan(t.Context(), "", func(ledger.StoredEntry) error { return enough }), enough)
}

// lockOf is a lock as a ledger writes it.
func lockOf(holder, version string) ledger.StoredLock {
	return ledger.StoredLock{Version: version, Fields: map[string]string{
		"holder": holder, "process": "a-boot/pid:[1] 42 7", "ttl": "15s", "fence": "12", "head": "3",
		"what": "4f2a91c", "order": "1764324000", "waiting": `{"holder":"ci"}`,
		"acquired": "2026-11-28T10:00:00.123456Z", "renewed": "2026-11-28T10:00:05.5Z",
	}}
}

func theLockIsWrittenAsRead(t *testing.T, store ledger.Store) {
	first, err := store.SwapLock(t.Context(), lockOf("joel", ""))
	require.NoError(t, err)
	require.NotEmpty(t, first)
	version, err := store.SwapLock(t.Context(), lockOf("ci", ""))
	require.NoError(t, err)
	require.Empty(t, version, "it is there")
	got, err := store.ReadLock(t.Context())
	require.NoError(t, err)
	require.Equal(t, lockOf("joel", first), got)

	second, err := store.SwapLock(t.Context(), lockOf("", first))
	require.NoError(t, err)
	require.NotEmpty(t, second)
	require.NotEqual(t, first, second)
	version, err = store.SwapLock(t.Context(), lockOf("ci", first))
	require.NoError(t, err)
	require.Empty(t, version, "it was written since")
	got, err = store.ReadLock(t.Context())
	require.NoError(t, err)
	require.Equal(t, lockOf("", second), got)
}

func ofManyWritersOneWins(t *testing.T, store ledger.Store) {
	e := create(t, store, entry("000009", "{}", false))
	lock := ""
	for round := range 5 {
		name := fmt.Sprintf("%06d", round+1)
		oneWins(t, "creating "+name, func(by int) (string, error) {
			return store.Create(t.Context(), entry(name, fmt.Sprintf(`{"by":%d}`, by), false))
		})
		e.Version = oneWins(t, "writing "+e.Name, func(by int) (string, error) {
			next := entry(e.Name, fmt.Sprintf(`{"by":%d,"round":%d}`, by, round), round == 4)
			next.Version = e.Version
			return store.Swap(t.Context(), next)
		})
		lock = oneWins(t, "taking the lock", func(by int) (string, error) {
			return store.SwapLock(t.Context(), lockOf(fmt.Sprintf("%d in round %d", by, round), lock))
		})
	}
}

// oneWins lets eight writers begin at once, and returns the version of the one
// that won.
func oneWins(t *testing.T, what string, write func(by int) (string, error)) (version string) {
	t.Helper()
	const writers = 8
	var all sync.WaitGroup
	var wins atomic.Int32
	errs, versions := make([]error, writers), make([]string, writers)
	start := make(chan struct{})
	for by := range writers {
		all.Go(func() {
			<-start
			if versions[by], errs[by] = write(by); versions[by] != "" {
				wins.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	require.NoError(t, errors.Join(errs...), what)
	require.EqualValues(t, 1, wins.Load(), what)
	return versions[slices.IndexFunc(versions, func(v string) bool { return v != "" })]
}

// whatIsDropped is for stores that are a ledger.Dropper.
func whatIsDropped(t *testing.T, store ledger.Store) {
	dropper, ok := store.(ledger.Dropper)
	if !ok {
		t.Skip("this store gives up no entry")
	}
	kept := []ledger.StoredEntry{
		create(t, store, entry("000002", `{"n":2}`, true)),
		create(t, store, entry("000003", `{"n":3}`, false)),
		create(t, store, entry("000001-signature", `{"n":1}`, true)),
	}
	create(t, store, entry("000001", `{"n":1}`, true))
	require.NoError(t, dropper.Drop(t.Context(), "", func(name string) bool { return name == "000001" }))
	gone, err := store.Read(t.Context(), "000001")
	require.NoError(t, err)
	require.Empty(t, gone.Version)
	for _, e := range kept {
		requireKept(t, store, e)
	}
	require.NoError(t, dropper.Drop(t.Context(), "", func(name string) bool { return name == "000001" }), "what is gone already")
}

func anEndedContext(t *testing.T, store ledger.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Create(ctx, entry("000001", "{}", false))
	require.Error(t, err)
	_, err = store.SwapLock(ctx, lockOf("joel", ""))
	require.Error(t, err)
	_, err = store.Read(ctx, "000001")
	require.Error(t, err)
	e, err := store.Read(t.Context(), "000001")
	require.NoError(t, err)
	require.Empty(t, e.Version)
}
