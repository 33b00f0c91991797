package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// sealLimit is how long an outcome is tried to be stored while the store
// answers that it is only out of order for the moment.
const sealLimit = 30 * time.Second

// Sealed is an entry that this run has sealed: a record with its outcome, or a withdrawal.
type Sealed struct {
	entry     StoredEntry
	withdrawn withdrawn // when it was begun; nothing for a withdrawal
}

// Note writes what is known of a begun release so far, without sealing its record:
// a run that is killed later does not take it along.
func (l *Ledger) Note(ctx context.Context, begun Begun, rec release.Record) (Begun, error) {
	entry, err := l.write(ctx, begun, rec, false)
	if err == nil {
		begun.entry = entry
	}
	return begun, err
}

// Seal seals the record of a begun release with what became of it. Nobody can
// write it again. It is retried for 30 seconds while the store is out of order;
// pass a context that outlives an interrupt.
//
// A *LostError or *ConflictError says that another run has sealed it already.
func (l *Ledger) Seal(ctx context.Context, begun Begun, rec release.Record) (Sealed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sealLimit, fmt.Errorf("the outcome could not be written within %s", sealLimit))
	defer cancel()
	var why error // of the last try that the limit did not end
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		entry, err := l.write(ctx, begun, rec, true)
		if err == nil || !temporary(err) {
			return Sealed{entry: entry, withdrawn: begun.withdrawn}, err
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		if pause(ctx, wait) != nil {
			return Sealed{}, fmt.Errorf("%w: %w", context.Cause(ctx), why)
		}
	}
}

// write puts a record into the entry of a begun release, as this run wrote it
// last, and returns it as it is stored.
func (l *Ledger) write(ctx context.Context, begun Begun, rec release.Record, seal bool) (next StoredEntry, err error) {
	next = begun.entry
	if next.Parts, err = outcome(next.Parts, asBegun(rec, begun.Record)); err != nil {
		return StoredEntry{}, err
	}
	next.Sealed = seal
	err = begun.Lock.confirm(ctx)
	if err == nil {
		var version string
		if version, err = l.store.Swap(ctx, next); err != nil {
			err = fmt.Errorf("write record #%d: %w", rec.Seq, err)
		} else if version != "" {
			next.Version = version
			return next, nil
		}
	}
	var lost *LostError
	if err != nil && !errors.As(err, &lost) {
		return StoredEntry{}, err
	}
	return l.writeAgain(ctx, begun, next, err)
}

// writeAgain reads what became of an entry that another writer has changed since:
// it may have been this run, whose answer was lost on its way.
func (l *Ledger) writeAgain(ctx context.Context, begun Begun, next StoredEntry, lost error) (StoredEntry, error) {
	now, err := l.read(ctx, next.Name)
	switch {
	case err != nil:
		return StoredEntry{}, errors.Join(lost, err)
	case now.Sealed && next.Sealed && bytes.Equal(now.Parts[partRecord], next.Parts[partRecord]):
		return now, nil
	case lost != nil:
		return StoredEntry{}, lost
	case !now.found():
		return StoredEntry{}, &MissingError{Seq: begun.Record.Seq, Location: l.store.Location()}
	case now.Sealed || now.record().Fence != begun.Record.Fence:
		return StoredEntry{}, &ConflictError{Seq: begun.Record.Seq, Location: l.store.Location()}
	}
	next.Version = now.Version
	if next.Version, err = l.store.Swap(ctx, next); err != nil {
		return StoredEntry{}, fmt.Errorf("write record #%d: %w", begun.Record.Seq, err)
	}
	if !next.found() {
		return StoredEntry{}, &ConflictError{Seq: begun.Record.Seq, Location: l.store.Location()}
	}
	return next, nil
}

// asBegun keeps what was decided when the record was begun, and drops what is
// only known on reading.
func asBegun(rec, begun release.Record) release.Record {
	rec.App, rec.Seq, rec.Kind, rec.Origin, rec.Adopted = begun.App, begun.Seq, begun.Kind, begun.Origin, begun.Adopted
	rec.From = begun.From
	rec.SHA, rec.Version, rec.Holder, rec.Fence = begun.SHA, begun.Version, begun.Holder, begun.Fence
	rec.Previous, rec.PreviousHash, rec.ObjectsHash = begun.Previous, begun.PreviousHash, begun.ObjectsHash
	rec.StartedAt, rec.Withdrawals = begun.StartedAt, begun.Withdrawals
	rec.Policy, rec.Allowed, rec.Environment = begun.Policy, begun.Allowed, begun.Environment
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

// temporary reports whether an error says of itself that it may pass.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
