package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// Begun is a release whose pending record is written, and that has not ended yet.
type Begun struct {
	Record release.Record // as it was begun
	Lock   *Lock          // under which it was begun

	entry     StoredEntry // as this run wrote it last
	withdrawn withdrawn   // when it was begun

	interrupted []Sealed // what a killed run had left, as Begin has sealed it
}

// beginTries is how often a release is begun at most. Another run that has lost
// its lock may still have written at the last moment: then all is read again.
const beginTries = 3

// PendingRecord is what is stored of a release before its first change.
type PendingRecord struct {
	Release     release.Release
	Attachments map[string][]byte // stored beside it, such as the signatures that a later rollback verifies
	Policy      *release.Policy   // that its images satisfy; nil: none
	Allowed     []release.Code    // what was let pass by name
	Environment string            // "" is one too
	Adopted     *Adopted          // what ran before the first release; nil: nothing did, or this is not the first
}

// Begin writes the pending record of a release and gives it the next number.
//
// A pending record that a killed run left behind is sealed first, as it stands. A
// *LostError, *ConflictError, *SizeError or *release.WeakerPolicyError says that
// nothing was begun.
func (l *Ledger) Begin(ctx context.Context, lock *Lock, in PendingRecord) (begun Begun, err error) {
	in.Release.App = l.app
	for range beginTries {
		begun, err = l.begin(ctx, lock, in)
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			break
		}
	}
	return begun, err
}

func (l *Ledger) begin(ctx context.Context, lock *Lock, in PendingRecord) (Begun, error) {
	before, gone, err := l.standing(ctx, lock)
	if err != nil {
		return Begun{}, err
	}
	var interrupted []Sealed
	if before.found() && !before.Sealed {
		if before, err = l.sealInterrupted(ctx, before); err != nil {
			return Begun{}, err
		}
		interrupted = []Sealed{{entry: before}}
	}
	if err := weaker(in, before.record()); err != nil {
		return Begun{}, err
	}
	// A number that was given is never given again, even if its record is gone.
	in.Release.Seq = max(before.seq(), lock.newest.Load()) + 1
	rec := release.Begin(in.Release, l.now())
	rec.Policy, rec.Allowed, rec.Environment = in.Policy, in.Allowed, in.Environment
	rec.Holder, rec.Fence = lock.Holder, lock.Fence
	if before.found() {
		rec.Previous, rec.PreviousHash = before.seq(), hash(before.Parts[partRecord])
	}
	rec.Withdrawals = gone.and(before.record())
	var adopted map[string][]byte
	if in.Adopted != nil && rec.Seq == 1 {
		if adopted, err = in.Adopted.parts(rec); err != nil {
			return Begun{}, err
		}
		rec.PreviousHash = adoptedHash(adopted)
	}
	parts, chunks, err := pendingParts(rec, in, adopted)
	if err != nil {
		return Begun{}, err
	}
	if err := l.writeChunks(ctx, chunks); err != nil {
		return Begun{}, err
	}
	entry := StoredEntry{Name: recordName(rec.Seq), Parts: parts}
	if entry.Version, err = l.store.Create(ctx, entry); err != nil {
		return Begun{}, fmt.Errorf("write record #%d: %w", rec.Seq, err)
	}
	if !entry.found() {
		return Begun{}, &ConflictError{Seq: rec.Seq, Location: l.store.Location()}
	}
	lock.newest.Store(rec.Seq)
	return Begun{Record: rec, Lock: lock, entry: entry, withdrawn: gone, interrupted: interrupted}, nil
}

// weaker refuses what requires less of its images than the record before, unless
// that was allowed by name.
func weaker(in PendingRecord, before release.Record) error {
	faults := in.Policy.Weaker(before.Policy)
	if len(faults) == 0 || slices.Contains(in.Allowed, release.CodePolicyWeaker) {
		return nil
	}
	return &release.WeakerPolicyError{Seq: before.Seq, Weaker: faults}
}

// certainAfterTaking is how long after it was taken a lock is ours without asking.
const certainAfterTaking = time.Second

// standing is the newest record with the withdrawn releases, as they stand under
// the lock.
func (l *Ledger) standing(ctx context.Context, lock *Lock) (newest StoredEntry, gone withdrawn, err error) {
	past := lock.wrote.Swap(true) // what is begun now makes the view the past
	switch view := lock.view; {
	case view != nil && !past && lock.age() < certainAfterTaking:
		return view.newest, view.withdrawn, nil
	case view != nil && !past:
		return view.newest, view.withdrawn, lock.confirm(ctx)
	}
	err = atOnce(
		func() error { return lock.confirm(ctx) },
		func() error { found, err := l.newest(ctx, lock.newest.Load(), 1); newest = first(found); return err },
		func() (err error) { gone, err = l.withdrawn(ctx); return err },
	)
	return newest, gone, err
}

// pendingParts are what is stored of a release before its first change: the parts of its
// entry, and the entries of those that are too large for it. adopted are those of #0.
func pendingParts(rec release.Record, in PendingRecord, adopted map[string][]byte) (parts map[string][]byte, chunks []StoredEntry, err error) {
	parts = map[string][]byte{}
	maps.Copy(parts, adopted)
	if parts[partRecord], err = encode(rec); err != nil {
		return nil, nil, err
	}
	if parts[partObjects], err = packObjects(in.Release.Roles); err != nil {
		return nil, nil, err
	}
	if err := attach(parts, in.Attachments); err != nil {
		return nil, nil, err
	}
	return splitParts(rec.Seq, parts)
}

// sealInterrupted seals what a killed run left, with the outcome pending: what
// became of it is not known, and nothing of it is lost.
func (l *Ledger) sealInterrupted(ctx context.Context, left StoredEntry) (StoredEntry, error) {
	rec := left.record()
	if rec.Seq == left.seq() { // else it cannot be read, and is sealed as it is
		if needsSeal(rec) {
			rec.Reason, rec.Outcome = fmt.Sprintf("it said %s, and was never sealed", rec.Outcome), release.Pending
		} else if rec.Outcome == release.Pending {
			gone := "interrupted: " + rec.Holder + " did not come back"
			if rec.Reason != "" {
				gone = rec.Reason + "; " + gone
			}
			rec.Reason = gone
		}
		raw, err := encode(rec)
		if err != nil {
			return left, err
		}
		left.Parts[partRecord] = raw
	}
	left.Sealed = true
	version, err := l.store.Swap(ctx, left)
	if err != nil {
		return left, fmt.Errorf("seal record #%d: %w", left.seq(), err)
	}
	if version == "" {
		return left, &ConflictError{Seq: left.seq(), Location: l.store.Location()}
	}
	l.report(release.PhaseRecord, release.MarkNote, "record #%d was left by %s, which did not come back: sealed as %s", left.seq(), rec.Holder, rec.Outcome)
	left.Version = version
	return left, nil
}
