package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/joelhooks/shipit/release"
)

// Trust checks the signature of an entry, where the ledger verifies those. The
// error is an *AlteredError.
func (l *Ledger) Trust(ctx context.Context, e Entry) error { return l.verifySignature(ctx, e) }

// Read returns one record with its objects, ready to be rolled out again, if it
// is what was once stored: by its own hashes, by the record after it, and by its
// signature where the ledger verifies those. Otherwise the error is an
// *AlteredError, or a *MissingError. #0 is what ran before the first release.
func (l *Ledger) Read(ctx context.Context, seq int64) (Entry, error) {
	if seq == 0 {
		return l.readAdopted(ctx)
	}
	r, err := l.readRecord(ctx, seq)
	if err != nil {
		return Entry{}, err
	}
	return l.checked(ctx, r)
}

// storedRecord is a record after #0 with all its parts as they are stored, and what else
// tells whether it is what was once stored.
type storedRecord struct {
	entry StoredEntry
	next  StoredEntry // the entry after it, if it is there
	gone  withdrawn
}

// readRecord reads a record and what it is checked by.
func (l *Ledger) readRecord(ctx context.Context, seq int64) (storedRecord, error) {
	var r storedRecord
	err := atOnce(
		func() (err error) { r.entry, r.next, err = l.readWithNext(ctx, seq); return err },
		func() (err error) { r.gone, err = l.allWithdrawn(ctx); return err },
	)
	return r, err
}

// checked is a record that is what was once stored, or an error.
func (l *Ledger) checked(ctx context.Context, r storedRecord) (Entry, error) {
	e, err := l.entryOf(r.entry)
	if err != nil {
		return e, err
	}
	e.Record.Withdrawn = r.gone.has(e.Record)
	if err := linked(e, r.next.record()); err != nil {
		return e, err
	}
	return e, l.verifySignature(ctx, e)
}

// readWithNext returns one record, with all its parts, and the entry after it.
func (l *Ledger) readWithNext(ctx context.Context, seq int64) (stored, next StoredEntry, err error) {
	err = atOnce(
		func() (err error) { stored, err = l.lookup(ctx, recordName(seq)); return err },
		func() (err error) { next, err = l.read(ctx, recordName(seq+1)); return err },
	)
	if err != nil {
		return stored, next, err
	}
	if !stored.found() {
		return stored, next, &MissingError{Seq: seq, Location: l.store.Location()}
	}
	stored, err = l.joined(ctx, stored)
	return stored, next, err
}

// entryOf is a stored record, checked by itself.
func (l *Ledger) entryOf(stored StoredEntry) (Entry, error) {
	e, err := newEntry(stored.seq(), l.app, stored.Parts, stored.Sealed)
	e.archived = stored.Version == archivedVersion
	return e, err
}

// linked checks a record by the one that was begun after it.
func linked(e Entry, after release.Record) error {
	if after.Previous != e.Record.Seq || after.Seq == 0 {
		return nil // not the one after it
	}
	if got := hash(e.Raw); got != after.PreviousHash {
		return &AlteredError{Seq: e.Record.Seq, Field: "previousHash", Message: fmt.Sprintf("its hash is %s, and #%d was begun after %s",
			release.ShortDigest(got), after.Seq, release.ShortDigest(after.PreviousHash))}
	}
	return nil
}

// entries are stored entries, newest first, each checked by itself and by the one
// after it. After the first record comes what it has adopted.
func (l *Ledger) entries(newest []StoredEntry, gone withdrawn) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		var after release.Record
		for i, k := range newest {
			if i == 0 {
				gone = gone.and(k.record())
			}
			e, err := newEntry(k.seq(), l.app, k.Parts, k.Sealed)
			if err == nil {
				err = linked(e, after)
			}
			if after = e.Record; err != nil {
				e.Record.App, e.Record.Seq, e.Record.Altered = l.app, k.seq(), alteration(err)
			}
			e.Record.Withdrawn = gone.has(e.Record)
			if !yield(e) {
				return
			}
			adopted, found, err := l.adoptedIn(k)
			if err != nil {
				adopted.Record.App, adopted.Record.Seq, adopted.Record.Altered = l.app, 0, alteration(err)
			}
			if found && !yield(adopted) {
				return
			}
		}
	}
}

func alteration(err error) string {
	var altered *AlteredError
	if errors.As(err, &altered) {
		return altered.Field + ": " + altered.Message
	}
	return err.Error()
}

// all returns every record as it is stored, oldest first.
func (l *Ledger) all(ctx context.Context) ([]StoredEntry, error) {
	entries, err := l.scan(ctx, kindRecord)
	if err != nil {
		return nil, err
	}
	if entries, err = l.unlisted(ctx, entries); err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b StoredEntry) int { return cmp.Compare(a.seq(), b.seq()) })
	return entries, nil
}

// unlisted adds what a listing by labels does not show and a name does: the
// newest record, and those that listed ones name as the record before.
func (l *Ledger) unlisted(ctx context.Context, entries []StoredEntry) ([]StoredEntry, error) {
	head, err := l.head(ctx)
	if err != nil {
		return nil, err
	}
	listed := map[int64]bool{0: true}
	for _, k := range entries {
		listed[k.seq()] = true
	}
	if !listed[head.seq()] { // 0, where there is none, counts as listed
		entries, listed[head.seq()] = append(entries, head), true
	}
	for i := 0; i < len(entries); i++ {
		before := entries[i].record().Previous
		if listed[before] {
			continue
		}
		listed[before] = true
		k, err := l.read(ctx, recordName(before))
		if err != nil {
			return nil, err
		}
		if k.found() {
			entries = append(entries, k)
		}
	}
	return entries, nil
}

// allWithdrawn are the withdrawn releases, those too whose mark was taken away.
func (l *Ledger) allWithdrawn(ctx context.Context) (withdrawn, error) {
	var head StoredEntry
	var gone withdrawn
	err := atOnce(
		func() (err error) { head, err = l.head(ctx); return err },
		func() (err error) { gone, err = l.withdrawn(ctx); return err },
	)
	return gone.and(head.record()), err
}

// head is the newest entry, found by the number that the lock names.
func (l *Ledger) head(ctx context.Context) (StoredEntry, error) {
	lock, err := l.store.ReadLock(ctx)
	if err != nil {
		return StoredEntry{}, fmt.Errorf("read the lock: %w", err)
	}
	newest, err := l.newest(ctx, parseLease(lock.Fields).newest, 1)
	return first(newest), err
}

func (l *Ledger) read(ctx context.Context, name string) (StoredEntry, error) {
	e, err := l.store.Read(ctx, name)
	if err != nil {
		return StoredEntry{}, fmt.Errorf("read record %s: %w", name, err)
	}
	return e, nil
}

// atOnce does independent things at the same time, and returns the first error
// in their order.
func atOnce(jobs ...func() error) error {
	errs := make([]error, len(jobs))
	var all sync.WaitGroup
	for i, job := range jobs {
		all.Go(func() { errs[i] = job() })
	}
	all.Wait()
	return cmp.Or(errs...)
}
