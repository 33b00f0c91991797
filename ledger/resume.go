package ledger

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// Interrupted is the newest release if a run that did not come back has begun it
// and never settled it; false if there is none, or if its record cannot be read.
// It can be settled under the lock by what is seen to run: with Settle, as if it
// had been begun by this run. Begin seals what is left as pending.
func (l *Ledger) Interrupted(ctx context.Context, lock *Lock) (release.Release, Begun, bool, error) {
	newest := StoredEntry{}
	if view := lock.view; view != nil && !lock.wrote.Load() {
		newest = view.newest
	} else {
		found, err := l.newest(ctx, lock.newest.Load(), 1)
		if err != nil {
			return release.Release{}, Begun{}, false, err
		}
		newest = first(found)
	}
	if !newest.found() || newest.Sealed {
		return release.Release{}, Begun{}, false, nil
	}
	whole, err := l.joined(ctx, newest)
	if err != nil {
		return release.Release{}, Begun{}, false, err
	}
	entry, err := newEntry(newest.seq(), l.app, whole.Parts, false)
	if err != nil || entry.Record.Outcome != release.Pending {
		return release.Release{}, Begun{}, false, nil
	}
	lock.wrote.Store(true) // what was read before the lock is the past once this is settled
	return entry.Release(), Begun{Record: entry.Record, Lock: lock, entry: newest}, true, nil
}
