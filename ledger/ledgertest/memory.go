// Package ledgertest checks a ledger.Store by its contract, and has a store
// in memory for the tests of what uses a ledger.
package ledgertest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/joelhooks/shipit/ledger"
)

// Store is a ledger.Store in memory. It compares and swaps as the real ones do,
// and may be used by several goroutines and ledgers at once.
type Store struct {
	mu      sync.Mutex
	writes  int
	entries map[string]ledger.StoredEntry
	lock    ledger.StoredLock
}

// NewStore is an empty store.
func NewStore() *Store { return &Store{entries: map[string]ledger.StoredEntry{}} }

// Location is "memory".
func (s *Store) Location() string { return "memory" }

// Create stores a new entry; the version is "" if its name is taken.
func (s *Store) Create(ctx context.Context, e ledger.StoredEntry) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.entries[e.Name]; taken || ctx.Err() != nil {
		return "", ctx.Err()
	}
	return s.put(e), nil
}

// Read returns an entry; its version is "" if there is none.
func (s *Store) Read(ctx context.Context, name string) (ledger.StoredEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cloned(s.entries[name]), ctx.Err()
}

// Swap replaces an unsealed entry that still has the version of e.
func (s *Store) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, found := s.entries[e.Name]
	if !found || was.Sealed || was.Version != e.Version || ctx.Err() != nil {
		return "", ctx.Err()
	}
	return s.put(e), nil
}

// Remove takes an entry away, as an attacker or an accident does.
func (s *Store) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, name)
}

// Drop removes the entries of a kind that are chosen by their names.
func (s *Store) Drop(ctx context.Context, kind string, chosen func(name string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.entries, func(name string, _ ledger.StoredEntry) bool {
		return ctx.Err() == nil && ledger.Kind(name) == kind && chosen(name)
	})
	return ctx.Err()
}

// Names lists the entries of a kind.
func (s *Store) Names(ctx context.Context, kind string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.entries)) {
		if ledger.Kind(name) == kind {
			names = append(names, name)
		}
	}
	return names, ctx.Err()
}

// Scan reads every entry of a kind.
func (s *Store) Scan(ctx context.Context, kind string, each func(ledger.StoredEntry) error) error {
	names, err := s.Names(ctx, kind)
	if err != nil {
		return err
	}
	for _, name := range names {
		e, err := s.Read(ctx, name)
		if err == nil && e.Version != "" {
			err = each(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadLock returns the lock; its version is "" if it was never taken.
func (s *Store) ReadLock(ctx context.Context) (ledger.StoredLock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ledger.StoredLock{Fields: maps.Clone(s.lock.Fields), Version: s.lock.Version}, ctx.Err()
}

// SwapLock replaces the lock if it still has the version of next.
func (s *Store) SwapLock(ctx context.Context, next ledger.StoredLock) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock.Version != next.Version || ctx.Err() != nil {
		return "", ctx.Err()
	}
	s.lock = ledger.StoredLock{Fields: maps.Clone(next.Fields), Version: s.version()}
	return s.lock.Version, nil
}

// RemoveLock takes the lock away, as an attacker or an accident does.
func (s *Store) RemoveLock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock = ledger.StoredLock{}
}

func (s *Store) put(e ledger.StoredEntry) (version string) {
	e = cloned(e)
	e.Version = s.version()
	s.entries[e.Name] = e
	return e.Version
}

// version is another one at each call.
func (s *Store) version() string {
	s.writes++
	return strconv.Itoa(s.writes)
}

// cloned shares no memory with e.
func cloned(e ledger.StoredEntry) ledger.StoredEntry {
	e.Parts = maps.Clone(e.Parts)
	for name, part := range e.Parts {
		e.Parts[name] = bytes.Clone(part)
	}
	return e
}

var (
	_ ledger.Store   = (*Store)(nil)
	_ ledger.Dropper = (*Store)(nil)
)
