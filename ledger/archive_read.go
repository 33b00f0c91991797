package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// archivedVersion is the version of an entry that was read from the mirror: no store
// takes it.
const archivedVersion = "archived"

// archive reads the records that were moved to the mirror. It lives as long as one
// call that reads the ledger.
type archive struct {
	ledger *Ledger
	newest index
	read   map[int64]index // by the last number of their segments
}

// archive is what was moved to the mirror; nothing is read of it yet but the newest
// index. It is empty where there is no mirror.
func (l *Ledger) archive(ctx context.Context) (*archive, error) {
	a := &archive{ledger: l, read: map[int64]index{}}
	if l.opts.Mirror == nil {
		return a, nil
	}
	var err error
	if a.newest, err = l.newestIndex(ctx); err != nil {
		return nil, fmt.Errorf("read the archive's index in %s: %w", l.store.Location(), err)
	}
	a.read[a.newest.To] = a.newest
	return a, nil
}

// has reports whether a number is one of the archive's.
func (a *archive) has(seq int64) bool { return seq > 0 && seq <= a.newest.To }

// segments are the last numbers of all segments, newest first.
func (a *archive) segments() []int64 {
	if a.newest.To == 0 {
		return nil
	}
	all := []int64{a.newest.To}
	for _, s := range slices.Backward(a.newest.Earlier) {
		all = append(all, s.To)
	}
	return all
}

// fetch reads the indexes of segments, each checked by the hash that the newest has of it.
func (a *archive) fetch(ctx context.Context, segments []int64) error {
	missing := slices.DeleteFunc(slices.Clone(segments), func(to int64) bool { _, known := a.read[to]; return known })
	found := make([]index, len(missing))
	err := someAtOnce(copiesAtOnce, missing, func(i int, to int64) (err error) {
		found[i], err = a.index(ctx, to)
		return err
	})
	for i, to := range missing {
		if err == nil {
			a.read[to] = found[i]
		}
	}
	return err
}

// index reads the index of one segment from the mirror.
func (a *archive) index(ctx context.Context, to int64) (index, error) {
	at := slices.IndexFunc(a.newest.Earlier, func(s segment) bool { return s.To == to })
	parts, err := a.ledger.opts.Mirror.Get(ctx, indexName(to))
	if err != nil {
		return index{}, fmt.Errorf("read the index of the records up to #%d in %s: %w", to, a.ledger.opts.Mirror.Location(), err)
	}
	if at < 0 || hash(parts[partRecord]) != a.newest.Earlier[at].Hash {
		return index{}, &AlteredError{Seq: to, Field: kindArchive, Message: "its index is gone from " + a.ledger.opts.Mirror.Location() + ", or altered"}
	}
	return a.ledger.parseIndex(StoredEntry{Name: indexName(to), Parts: parts, Version: archivedVersion})
}

// entry reads a record of the archive; nothing is found if there was none of that
// number. A copy that is gone or altered is an *AlteredError.
func (a *archive) entry(ctx context.Context, seq int64) (StoredEntry, error) {
	segments := a.segments()
	at := slices.IndexFunc(segments, func(to int64) bool { return to-segmentRecords < seq && seq <= to })
	if at < 0 {
		return StoredEntry{}, nil
	}
	if err := a.fetch(ctx, segments[at:at+1]); err != nil {
		return StoredEntry{}, err
	}
	return a.copyOf(ctx, seq, a.read[segments[at]])
}

// copyOf reads the copy of a record that an index tells of.
func (a *archive) copyOf(ctx context.Context, seq int64, of index) (StoredEntry, error) {
	i := slices.IndexFunc(of.Records, func(r indexed) bool { return r.Record.Seq == seq })
	if i < 0 {
		return StoredEntry{}, nil
	}
	e := StoredEntry{Name: recordName(seq), Version: archivedVersion, Sealed: true}
	parts, err := a.ledger.opts.Mirror.Get(ctx, e.Name)
	if err != nil {
		return e, fmt.Errorf("read the copy of record #%d: %w", seq, err)
	}
	if hash(parts[partRecord]) != of.Records[i].Hash {
		return e, &AlteredError{Seq: seq, Field: partRecord, Message: "its copy is gone from " + a.ledger.opts.Mirror.Location() + ", or altered"}
	}
	e.Parts = parts
	return e, nil
}

// down are the archived entries from a number down, newest first, limit of them or
// all for 0. One that is altered has no parts.
func (a *archive) down(ctx context.Context, from int64, limit int) ([]StoredEntry, error) {
	var out []StoredEntry
	for _, to := range a.segments() {
		if to-segmentRecords >= from {
			continue
		}
		if err := a.fetch(ctx, []int64{to}); err != nil {
			return nil, err
		}
		var seqs []int64
		for _, r := range slices.Backward(a.read[to].Records) {
			if r.Record.Seq <= from && (limit <= 0 || len(out)+len(seqs) < limit) {
				seqs = append(seqs, r.Record.Seq)
			}
		}
		found := make([]StoredEntry, len(seqs))
		err := someAtOnce(copiesAtOnce, seqs, func(i int, seq int64) (err error) {
			found[i], err = a.copyOf(ctx, seq, a.read[to])
			var altered *AlteredError
			if errors.As(err, &altered) {
				err = nil
			}
			return err
		})
		if out = append(out, found...); err != nil || limit > 0 && len(out) >= limit {
			return out, err
		}
	}
	return out, nil
}

// indexed are the records of the archive as its indexes tell of them, newest first.
func (a *archive) indexed(ctx context.Context, gone withdrawn) iter.Seq2[[]release.Record, error] {
	return func(yield func([]release.Record, error) bool) {
		for group := range slices.Chunk(a.segments(), copiesAtOnce) {
			err := a.fetch(ctx, group)
			var records []release.Record
			for _, to := range group {
				for _, r := range slices.Backward(a.read[to].Records) {
					r.Record.Withdrawn = gone.has(r.Record)
					records = append(records, r.Record)
					if r.Adopted != nil {
						records = append(records, *r.Adopted)
					}
				}
				if to != a.newest.To {
					delete(a.read, to) // memory does not grow with the history
				}
			}
			if !yield(records, err) || err != nil {
				return
			}
		}
	}
}

// lookup reads an entry of the store, or if it was moved, its copy.
func (l *Ledger) lookup(ctx context.Context, name string) (StoredEntry, error) {
	e, err := l.read(ctx, name)
	if err != nil || e.found() || l.opts.Mirror == nil {
		return e, err
	}
	a, err := l.archive(ctx)
	seq, _ := nameSeq(name)
	switch {
	case err != nil:
		return StoredEntry{}, err
	case !a.has(seq):
		return StoredEntry{}, nil
	case Kind(name) == kindRecord:
		return a.entry(ctx, seq)
	}
	parts, err := l.opts.Mirror.Get(ctx, name)
	if err != nil || parts == nil {
		return StoredEntry{}, err
	}
	return StoredEntry{Name: name, Parts: parts, Version: archivedVersion, Sealed: true}, nil
}
