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
	// Has reports whether it has an entry, without reading it.
	Has(ctx context.Context, name string) (bool, error)
	// Names lists the entries of every kind, in any order: as many as there ever were.
	Names(ctx context.Context) ([]string, error)
	// Location names where it stores things, for messages: "ghcr.io/joelhooks/worker/releases".
	Location() string
}

// Copied is what is known of the mirror. The zero value knows nothing.
//
// Records are copied in their order, and none before the one before it has its copy.
// So the newest copy tells that all before it are there, and nobody need list them.
type Copied struct{ names map[string]bool }

// CopyAhead brings to the mirror, while a release is under way, what earlier runs
// have sealed and could not copy, and what will stay of the begun record. Without
// a mirror there is nothing to do.
func (l *Ledger) CopyAhead(ctx context.Context, begun Begun) (Copied, error) {
	if l.opts.Mirror == nil {
		return Copied{}, nil
	}
	copied, _, err := l.copyMissing(ctx, begun.entry.seq(), begun.withdrawn)
	return copied, errors.Join(err, l.copyParts(ctx, begun.entry))
}

// Copy brings to the mirror what this run has sealed, and if it is not known what
// the mirror has, what earlier runs have sealed too. It returns how many entries
// it brought. A release is none the worse for an error: the next run copies what is missing.
func (l *Ledger) Copy(ctx context.Context, known Copied, sealed ...Sealed) (int, error) {
	if l.opts.Mirror == nil {
		return 0, nil
	}
	count := 0
	if known.names == nil {
		before, gone, err := l.earlier(ctx, sealed)
		if err != nil {
			return 0, err
		}
		if known, count, err = l.copyMissing(ctx, before, gone); err != nil {
			return count, err
		}
	}
	for _, s := range sealed {
		more, err := l.copyEntry(ctx, s.entry, known)
		if count += more; err != nil {
			return count, err
		}
	}
	return count, nil
}

// earlier is the number before which all records are to have their copies, and the
// releases that are withdrawn. A record that was sealed just now tells them.
func (l *Ledger) earlier(ctx context.Context, sealed []Sealed) (before int64, gone withdrawn, err error) {
	for _, s := range sealed {
		if Kind(s.entry.Name) == kindRecord {
			return s.entry.seq(), s.withdrawn, nil
		}
	}
	var head StoredEntry
	err = atOnce(
		func() (err error) { head, err = l.head(ctx); return err },
		func() (err error) { gone, err = l.withdrawn(ctx); return err },
	)
	return head.seq() + 1, gone, err
}

// signed reports whether this ledger has to do with signatures.
func (l *Ledger) signed() bool { return l.opts.Sign != nil || l.opts.VerifySignature != nil }

// copyMissing copies what the mirror lacks of the records before a number, of the
// marks of withdrawn releases, and of the signatures: of the last records they may
// have come later. With an error nothing is known of the mirror.
func (l *Ledger) copyMissing(ctx context.Context, before int64, gone withdrawn) (known Copied, count int, err error) {
	known.names = map[string]bool{}
	from, err := l.firstUncopied(ctx, before)
	for seq := from; err == nil && seq < before; seq++ {
		var more int
		more, err = l.copyNamed(ctx, recordName(seq), known)
		count += more
	}
	if err != nil {
		return Copied{}, count, err
	}
	more, err := l.copyLate(ctx, before, gone, known)
	if err != nil {
		return Copied{}, count + more, err
	}
	return known, count + more, nil
}

// firstUncopied is the first number below another from which on the mirror may lack
// records. It asks for the newest, which is there nearly always, and searches for the
// newest copy otherwise.
func (l *Ledger) firstUncopied(ctx context.Context, before int64) (int64, error) {
	has := func(seq int64) (bool, error) {
		there, err := l.opts.Mirror.Has(ctx, recordName(seq))
		if err != nil {
			err = fmt.Errorf("look for the copy of record #%d in %s: %w", seq, l.opts.Mirror.Location(), err)
		}
		return there, err
	}
	copied, missing := int64(0), before // the number of a copy, and one from which on there is none
	for step := int64(1); missing-step > 0; step *= 2 {
		there, err := has(missing - step)
		if err != nil {
			return 0, err
		}
		if there {
			copied = missing - step
			break
		}
		missing -= step
	}
	for copied+1 < missing {
		middle := copied + (missing-copied)/2
		there, err := has(middle)
		switch {
		case err != nil:
			return 0, err
		case there:
			copied = middle
		default:
			missing = middle
		}
	}
	return missing, nil
}

// copyLate copies what may have come after the record that it belongs to.
func (l *Ledger) copyLate(ctx context.Context, before int64, gone withdrawn, known Copied) (int, error) {
	var names []string
	for seq := max(before-unsignedLookback, 1); seq < before && l.signed(); seq++ {
		names = append(names, signatureName(recordName(seq)))
	}
	for _, seq := range gone {
		names = append(names, markName(seq))
		if l.signed() {
			names = append(names, signatureName(markName(seq)))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return known.names[name] })
	there := make([]bool, len(names))
	err := someAtOnce(copiesAtOnce, names, func(i int, name string) (err error) {
		there[i], err = l.opts.Mirror.Has(ctx, name)
		return err
	})
	count := 0
	for i, name := range names {
		if err == nil && there[i] {
			known.names[name] = true
		}
		if err == nil && !known.names[name] {
			var more int
			more, err = l.copyNamed(ctx, name, known)
			count += more
		}
	}
	return count, err
}

// copyNamed copies an entry of the store, if it is there and sealed.
func (l *Ledger) copyNamed(ctx context.Context, name string, known Copied) (int, error) {
	stored, err := l.read(ctx, name)
	if err != nil || !stored.Sealed {
		return 0, err
	}
	return l.copyEntry(ctx, stored, known)
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

// copyEntry copies an entry with its signature, unless that is done. It returns how
// many entries it brought.
func (l *Ledger) copyEntry(ctx context.Context, e StoredEntry, known Copied) (count int, err error) {
	if known.names[e.Name] {
		return 0, nil
	}
	if err := l.copyChunks(ctx, e, known); err != nil {
		return 0, err
	}
	if err := l.put(ctx, e); err != nil {
		return 0, err
	}
	known.names[e.Name] = true
	name := signatureName(e.Name)
	if !l.signed() || Kind(e.Name) == kindSignature || known.names[name] {
		return 1, nil
	}
	signature, err := l.read(ctx, name)
	if err != nil || !signature.found() {
		return 1, err
	}
	if err := l.put(ctx, signature); err != nil {
		return 1, err
	}
	known.names[name] = true
	return 2, nil
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
