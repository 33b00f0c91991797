package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Mirror stores a second copy of what is sealed, apart from the store. It cannot
// arbitrate, so it never decides; it shows whether the first copy was altered.
type Mirror interface {
	// Put stores an entry. A different entry of that name is left alone: error.
	Put(ctx context.Context, name string, parts map[string][]byte) error
	// PutParts brings parts ahead of the entry that will have them. Nobody sees them,
	// and it need not be done.
	PutParts(ctx context.Context, parts map[string][]byte) error
	// Get returns an entry, or nil if there is none.
	Get(ctx context.Context, name string) (parts map[string][]byte, err error)
	// Names lists the entries of every kind, in any order.
	Names(ctx context.Context) ([]string, error)
	// Location names where it stores things, for messages: "ghcr.io/joelhooks/worker/releases".
	Location() string
}

// Copied is what is known of the mirror. The zero value knows nothing.
type Copied struct{ names map[string]bool }

// CopyAhead brings to the mirror, while a release is under way, what earlier runs
// have sealed and could not copy, and what will stay of the begun record. Without
// a mirror there is nothing to do.
func (l *Ledger) CopyAhead(ctx context.Context, begun Begun) (Copied, error) {
	if l.opts.Mirror == nil {
		return Copied{}, nil
	}
	copied, _, err := l.copyMissing(ctx, l.before(begun.entry.seq(), begun.withdrawn))
	return copied, errors.Join(err, l.copyChunks(ctx, begun.entry, copied), l.copyParts(ctx, begun.entry))
}

// Copy brings to the mirror what this run has sealed, and if it is not known what
// the mirror has, what earlier runs have sealed too. It returns how many entries
// it brought. A release is none the worse for an error: the next run copies what is missing.
func (l *Ledger) Copy(ctx context.Context, known Copied, sealed ...Sealed) (int, error) {
	if l.opts.Mirror == nil {
		return 0, nil
	}
	count, failed := 0, error(nil)
	if known.names == nil {
		names, err := l.earlier(ctx, sealed)
		if err != nil {
			return 0, err
		}
		if known, count, failed = l.copyMissing(ctx, names); known.names == nil {
			return 0, failed
		}
	}
	for _, s := range sealed {
		if known.names[s.entry.Name] {
			continue
		}
		if err := l.copyEntry(ctx, s.entry, known); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		count++
	}
	return count, failed
}

// earlier are the names of all entries that there can be, oldest first. A record
// that was sealed just now tells them; otherwise the store lists them.
func (l *Ledger) earlier(ctx context.Context, sealed []Sealed) ([]string, error) {
	for _, s := range sealed {
		if Kind(s.entry.Name) == kindRecord {
			return l.before(s.entry.seq(), s.withdrawn), nil
		}
	}
	var all []string
	for _, kind := range []string{kindRecord, kindWithdrawn, kindSignature} {
		names, err := l.store.Names(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("list the records in %s: %w", l.store.Location(), err)
		}
		slices.Sort(names)
		all = append(all, names...)
	}
	return all, nil
}

// before are the names of all entries that there can be before a record. A
// signature goes with what it signs; of the last records it may have come later.
func (l *Ledger) before(seq int64, gone withdrawn) (names []string) {
	for earlier := int64(1); earlier < seq; earlier++ {
		names = append(names, recordName(earlier))
		if l.signed() && earlier >= seq-unsignedLookback {
			names = append(names, signatureName(recordName(earlier)))
		}
	}
	for _, seq := range gone {
		names = append(names, markName(seq))
	}
	return names
}

// signed reports whether this ledger has to do with signatures.
func (l *Ledger) signed() bool { return l.opts.Sign != nil || l.opts.VerifySig != nil }

// copyMissing copies those of the named entries that the mirror lacks. What it
// could not copy is not among what is known of the mirror.
func (l *Ledger) copyMissing(ctx context.Context, names []string) (known Copied, count int, failed error) {
	there, err := l.opts.Mirror.Names(ctx)
	if err != nil {
		return Copied{}, 0, fmt.Errorf("list the copies in %s: %w", l.opts.Mirror.Location(), err)
	}
	known.names = map[string]bool{}
	for _, name := range there {
		known.names[name] = true
	}
	for _, name := range names {
		if known.names[name] {
			continue
		}
		stored, err := l.read(ctx, name)
		if err == nil && !stored.Sealed {
			continue
		}
		if err == nil {
			err = l.copyEntry(ctx, stored, known)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		known.names[name] = true
		count++
	}
	return known, count, failed
}

// copyParts brings ahead what will stay of a begun entry.
func (l *Ledger) copyParts(ctx context.Context, begun StoredEntry) error {
	stays := maps.Clone(begun.Parts)
	delete(stays, partRecord)
	if err := l.opts.Mirror.PutParts(ctx, stays); err != nil {
		return fmt.Errorf("bring parts of record %s to %s: %w", begun.Name, l.opts.Mirror.Location(), err)
	}
	return nil
}

func (l *Ledger) copyEntry(ctx context.Context, e StoredEntry, known Copied) error {
	if err := l.copyChunks(ctx, e, known); err != nil {
		return err
	}
	if err := l.put(ctx, e); err != nil || !l.signed() || Kind(e.Name) == kindSignature || known.names[signatureName(e.Name)] {
		return err
	}
	signature, err := l.read(ctx, signatureName(e.Name))
	if err != nil || !signature.found() {
		return err
	}
	return l.put(ctx, signature)
}

// copyChunks brings what is stored apart of an entry, before the entry itself.
func (l *Ledger) copyChunks(ctx context.Context, e StoredEntry, known Copied) error {
	return someAtOnce(chunksAtOnce, chunkNames(e), func(_ int, name string) error {
		if known.names[name] {
			return nil
		}
		chunk, err := l.read(ctx, name)
		if err != nil || !chunk.found() {
			return err
		}
		return l.put(ctx, chunk)
	})
}

func (l *Ledger) put(ctx context.Context, e StoredEntry) error {
	if err := l.opts.Mirror.Put(ctx, e.Name, e.Parts); err != nil {
		return fmt.Errorf("copy record %s to %s: %w", e.Name, l.opts.Mirror.Location(), err)
	}
	return nil
}
