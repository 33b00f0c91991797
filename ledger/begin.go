package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// settleLimit is how long an outcome is tried to be kept while the store
// answers that it is only out of order for the moment.
const settleLimit = 30 * time.Second

// Begin keeps the intent of a release before its first change and gives it the
// next number. attachments are kept beside it, such as the signatures that a
// later rollback verifies; nil is none.
//
// An intent that a killed run left behind is sealed first, as it stands. A
// *LostError, *ConflictError or *SizeError says that nothing was begun.
func (l *Ledger) Begin(ctx context.Context, lock *Lock, rel release.Release, attachments map[string][]byte) (release.Record, error) {
	before, gone, err := l.standing(ctx, lock)
	if err != nil {
		return release.Record{}, err
	}
	if before.found() && !before.Sealed {
		if before, err = l.sealInterrupted(ctx, before); err != nil {
			return release.Record{}, err
		}
	}
	// A number that was given is never given again, even if its record is gone.
	rel.Seq = max(before.seq(), lock.head.Load()) + 1
	rel.App = l.app
	rec := release.Begin(rel, l.now())
	rec.Holder, rec.Fence = lock.Holder, lock.Fence
	if before.found() {
		rec.Previous, rec.PreviousHash = before.seq(), hash(before.Parts[partRecord])
	}
	rec.Withdrawals = gone.and(before.record())
	parts, err := intent(rec, rel, attachments)
	if err != nil {
		return release.Record{}, err
	}
	own := StoredEntry{Name: recordName(rec.Seq), Parts: parts}
	if own.Version, err = l.store.Create(ctx, own); err != nil {
		return release.Record{}, fmt.Errorf("keep record #%d: %w", rec.Seq, err)
	}
	if !own.found() {
		return release.Record{}, &ConflictError{Seq: rec.Seq, Place: l.store.Place()}
	}
	lock.head.Store(rec.Seq)
	l.begun[own.Name] = own
	l.copies.begin(own, gone)
	return rec, nil
}

// youth is how long a lock that was just taken is ours without asking.
const youth = time.Second

// standing is the newest record with the withdrawn releases, as they stand under
// the lock.
func (l *Ledger) standing(ctx context.Context, lock *Lock) (newest StoredEntry, gone withdrawn, err error) {
	seen := lock.seen
	lock.seen = nil // what is begun now makes it the past
	switch {
	case seen != nil && time.Since(lock.taken) < youth:
		return first(seen.newest), seen.gone, nil
	case seen != nil:
		return first(seen.newest), seen.gone, lock.check(ctx)
	}
	err = atOnce(
		func() error { return lock.check(ctx) },
		func() error { found, err := l.newest(ctx, lock.head.Load(), 1); newest = first(found); return err },
		func() (err error) { gone, err = l.marked(ctx); return err },
	)
	return newest, gone, err
}

func intent(rec release.Record, rel release.Release, attachments map[string][]byte) (map[string][]byte, error) {
	kept, err := encode(rec)
	if err != nil {
		return nil, err
	}
	packed, err := packObjects(rel.Roles)
	if err != nil {
		return nil, err
	}
	parts := map[string][]byte{partRecord: kept, partObjects: packed}
	if err := attach(parts, attachments); err != nil {
		return nil, err
	}
	if size := sizeOf(parts); size > sizeLimit-sizeSpare {
		return nil, &SizeError{Size: size, Limit: sizeLimit - sizeSpare}
	}
	return parts, nil
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
	l.sign(ctx, left.seq(), left.Parts)
	left.Sealed = true
	version, err := l.store.Swap(ctx, left)
	if err != nil {
		return left, fmt.Errorf("seal record #%d: %w", left.seq(), err)
	}
	if version == "" {
		return left, &ConflictError{Seq: left.seq(), Place: l.store.Place()}
	}
	l.report(release.PhaseRecord, release.MarkNote, "record #%d was left by %s, which did not come back: kept as %s", left.seq(), rec.Holder, rec.Outcome)
	left.Version = version
	return left, nil
}

// Note keeps what is known of a begun release so far, without sealing its record:
// a run that is killed later does not take it along.
func (l *Ledger) Note(ctx context.Context, lock *Lock, rec release.Record) error {
	return l.write(ctx, lock, rec, false)
}

// Settle seals the record of a begun release with what became of it. Nobody can
// write it again. It is retried for 30 seconds while the store is out of order;
// pass a context that outlives an interrupt.
//
// A *LostError or *ConflictError says that another run has sealed it already.
func (l *Ledger) Settle(ctx context.Context, lock *Lock, rec release.Record) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleLimit, fmt.Errorf("the outcome could not be kept within %s", settleLimit))
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := l.write(ctx, lock, rec, true)
		if err == nil || !temporary(err) {
			return err
		}
		if pause(ctx, wait) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (l *Ledger) write(ctx context.Context, lock *Lock, rec release.Record, seal bool) error {
	now, lost, err := l.own(ctx, lock, recordName(rec.Seq))
	if err != nil {
		return err
	}
	if !now.found() {
		return &MissingError{Seq: rec.Seq, Place: l.store.Place()}
	}
	begun := now.record()
	before := now.Parts[partRecord]
	if now.Parts, err = outcome(now.Parts, asBegun(rec, begun)); err != nil {
		return err
	}
	if now.Sealed && seal && bytes.Equal(before, now.Parts[partRecord]) {
		return nil // the answer to an earlier try was lost on its way
	}
	if lost != nil {
		return lost
	}
	if now.Sealed || begun.Fence != lock.Fence {
		return &ConflictError{Seq: rec.Seq, Place: l.store.Place()}
	}
	if seal {
		l.sign(ctx, rec.Seq, now.Parts)
	}
	now.Sealed = seal
	version, err := l.store.Swap(ctx, now)
	if err != nil {
		return fmt.Errorf("keep record #%d: %w", rec.Seq, err)
	}
	if version == "" {
		return &ConflictError{Seq: rec.Seq, Place: l.store.Place()}
	}
	if seal {
		l.copies.owe(now)
	}
	return nil
}

// own is the entry of a begun release: as this run has kept it, the first time, or
// as it is read. lost says that the lock is another run's by now.
func (l *Ledger) own(ctx context.Context, lock *Lock, name string) (now StoredEntry, lost, err error) {
	now, own := l.begun[name]
	delete(l.begun, name)
	if own {
		return now, lock.check(ctx), nil
	}
	err = atOnce(
		func() error { lost = lock.check(ctx); return nil },
		func() (err error) { now, err = l.read(ctx, name); return err },
	)
	return now, lost, err
}

// asBegun keeps what was decided when the record was begun, and drops what is
// only known on reading.
func asBegun(rec, begun release.Record) release.Record {
	rec.App, rec.Seq, rec.Kind, rec.Origin = begun.App, begun.Seq, begun.Kind, begun.Origin
	rec.SHA, rec.Version, rec.Holder, rec.Fence = begun.SHA, begun.Version, begun.Holder, begun.Fence
	rec.Previous, rec.PreviousHash, rec.ObjectsHash = begun.Previous, begun.PreviousHash, begun.ObjectsHash
	rec.StartedAt, rec.Withdrawals = begun.StartedAt, begun.Withdrawals
	rec.Withdrawn, rec.Altered = false, ""
	return rec
}

// outcome puts a record into the parts of its entry. Where that would be too
// large the logs of the autopsy are dropped: an outcome without its log lines
// is better than none.
func outcome(parts map[string][]byte, rec release.Record) (map[string][]byte, error) {
	parts = maps.Clone(parts)
	raw, err := encode(rec)
	if err != nil {
		return nil, err
	}
	parts[partRecord] = raw
	if sizeOf(parts) <= sizeLimit {
		return parts, nil
	}
	rec.Failures = slices.Clone(rec.Failures)
	for i, f := range rec.Failures {
		short := *f
		short.Log, short.Events = []string{"left out: the record would have been too large"}, nil
		rec.Failures[i] = &short
	}
	if raw, err = encode(rec); err != nil {
		return nil, err
	}
	parts[partRecord] = raw
	if size := sizeOf(parts); size > sizeLimit {
		return nil, &SizeError{Size: size, Limit: sizeLimit}
	}
	return parts, nil
}

// sign adds the signature of a record that is about to be sealed.
func (l *Ledger) sign(ctx context.Context, seq int64, parts map[string][]byte) {
	delete(parts, partSignature)
	if l.opts.Sign == nil {
		return
	}
	signature, err := l.opts.Sign(ctx, parts[partRecord])
	if err != nil {
		l.report(release.PhaseRecord, release.MarkFail, "record #%d is kept without a signature: %v", seq, err)
		return
	}
	parts[partSignature] = signature
}

// temporary reports whether an error says of itself that it may pass.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// what names a part of the entry, or a field of its record, in a Fault.
func (k StoredEntry) what(field string) string {
	kind := Kind(k.Name)
	switch {
	case kind == "":
		return field
	case field == "":
		return kind
	default:
		return kind + "." + field
	}
}

// record is what can be read of the record without judging it.
func (k StoredEntry) record() release.Record {
	var rec release.Record
	_ = json.Unmarshal(k.Parts[partRecord], &rec)
	return rec
}
