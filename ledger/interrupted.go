package ledger

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// Interrupted is a release that a run had begun that did not come back.
type Interrupted struct {
	Release release.Release
	Begun   Begun // as if this run had begun it: Seal takes it
}

// Left is the newest release if a killed run had begun it and has not sealed it,
// for this run to seal it as settled if all of it runs; found is false if there is none, or
// if its record cannot be read. Begin seals it as it stands.
func (l *Ledger) Left(ctx context.Context, lock *Lock) (left Interrupted, found bool, err error) {
	var newest StoredEntry
	if view := lock.view; view != nil && !lock.wrote.Load() {
		newest = view.newest
	} else {
		last, err := l.newest(ctx, lock.newest.Load(), 1)
		if err != nil {
			return Interrupted{}, false, err
		}
		newest = first(last)
	}
	if !newest.found() || newest.Sealed {
		return Interrupted{}, false, nil
	}
	whole, err := l.joined(ctx, newest)
	if err != nil {
		return Interrupted{}, false, err
	}
	entry, err := newEntry(newest.seq(), l.app, whole.Parts, false)
	if err != nil || entry.Record.Outcome != release.Pending {
		return Interrupted{}, false, nil
	}
	lock.wrote.Store(true) // what was read before the lock is the past once this is sealed
	return Interrupted{entry.Release(), Begun{Record: entry.Record, Lock: lock, entry: newest}}, true, nil
}
