package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// Recover brings back from the mirror what a store has lost, and returns how many
// entries it wrote: the copies must hold by themselves, by the chain and by their
// signatures. An *AlteredError says that one does not, and nothing was written; a
// *ConflictError, that the store has another entry of that name. One that was
// killed can be begun again.
func (l *Ledger) Recover(ctx context.Context, lock *Lock) (int, error) {
	if l.opts.Mirror == nil {
		return 0, fmt.Errorf("there is no copy of the records in a registry")
	}
	if err := lock.confirm(ctx); err != nil {
		return 0, err
	}
	lock.wrote.Store(true)
	copies, err := l.soundCopies(ctx)
	if err != nil {
		return 0, err
	}
	// A record comes after what it names, so that nobody reads it without.
	slices.SortFunc(copies, func(a, b StoredEntry) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.seq(), b.seq()))
	})
	count := 0
	for _, e := range copies {
		if err := lock.check(ctx); err != nil {
			return count, err
		}
		written, err := l.bringBack(ctx, e)
		if err != nil {
			return count, err
		}
		count += written
		if Kind(e.Name) == kindRecord {
			lock.newest.Store(max(lock.newest.Load(), e.seq()))
		}
	}
	l.report(release.PhaseRecord, release.MarkDone, "%d entries brought back from %s", count, l.opts.Mirror.Location())
	return count, nil
}

// rank is 1 for a record, and 0 for what belongs to one.
func rank(e StoredEntry) int {
	if Kind(e.Name) == kindRecord {
		return 1
	}
	return 0
}

// soundCopies are the copies of the mirror that belong into the store, if each of them
// holds: the newest index of the archive, the records after it, and all marks.
func (l *Ledger) soundCopies(ctx context.Context) ([]StoredEntry, error) {
	names, err := l.opts.Mirror.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the copies in %s: %w", l.opts.Mirror.Location(), err)
	}
	var archived int64
	for _, name := range names {
		if seq, _ := nameSeq(name); Kind(name) == kindArchive {
			archived = max(archived, seq)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return outOfStore(name, archived) })
	slices.Sort(names)
	a := &audit{ledger: l, ctx: ctx, from: archived + 1}
	copies, err := a.fetch(names)
	if err != nil {
		return nil, err
	}
	a.ends(copies, archived)
	a.copyChain(copies)
	for _, f := range a.faults {
		if f.Kind != FaultUnsigned || !l.oursByContent(ctx, f.Seq, copies) {
			return nil, &AlteredError{Seq: f.Seq, Field: f.Field, Message: f.Message + " in " + f.Location}
		}
	}
	return copies, nil
}

// outOfStore reports whether an entry is in the mirror alone, if the records up to a
// number are archived.
func outOfStore(name string, archived int64) bool {
	seq, _ := nameSeq(name)
	isMark := name == markName(seq) || name == signatureName(markName(seq))
	return seq <= archived && !isMark && name != indexName(archived)
}

// ends checks that the index of the archive leads to the first record after it.
func (a *audit) ends(copies []StoredEntry, archived int64) {
	if archived == 0 {
		return
	}
	var last indexed
	var first release.Record
	for _, c := range copies {
		switch c.Name {
		case indexName(archived):
			i, err := a.ledger.parseIndex(c)
			if err != nil || len(i.Records) == 0 {
				a.add(archived, FaultAltered, a.ledger.opts.Mirror.Location(), kindArchive, "it tells of no records")
				return
			}
			last = i.Records[len(i.Records)-1]
		case recordName(archived + 1):
			first = c.record()
		}
	}
	if first.Previous != last.Record.Seq || first.PreviousHash != last.Hash {
		a.add(archived, FaultAltered, a.ledger.opts.Mirror.Location(), kindArchive, "#%d does not follow what it tells of", archived+1)
	}
}

// oursByContent reports whether a copy that is not yet signed has the signature of
// its content; a withdrawal has none, and can only take a release out of use.
func (l *Ledger) oursByContent(ctx context.Context, seq int64, copies []StoredEntry) bool {
	for _, c := range copies {
		if c.Name == recordName(seq) {
			signed, err := contentOf(c.record())
			return err == nil && l.opts.VerifySignature(ctx, signed, c.Parts[attached+partContent]) == nil
		}
	}
	return false
}

func (l *Ledger) bringBack(ctx context.Context, e StoredEntry) (int, error) {
	version, err := l.store.Create(ctx, StoredEntry{Name: e.Name, Parts: e.Parts, Sealed: true})
	if err != nil {
		return 0, fmt.Errorf("bring back %s: %w", e.Name, err)
	}
	if version != "" {
		return 1, nil
	}
	return 0, sameEntry(ctx, l.store, e)
}
