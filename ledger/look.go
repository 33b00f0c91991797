package ledger

import (
	"context"
	"fmt"
	"slices"
)

// look is what was read of the lock, and after it of the records. If the lock was
// free and is taken just as it was seen, nobody else has had it in between, and
// the records are what was read.
type look struct {
	lock   StoredLock
	newest []StoredEntry
	gone   withdrawn
}

// Look reads what Lock and Begin need to know, so that it can be read at the same
// time as other things. Nothing is read again after an earlier Look or Recent.
func (l *Ledger) Look(ctx context.Context) error {
	if l.seen != nil {
		return nil
	}
	return l.look(ctx, 1)
}

func (l *Ledger) look(ctx context.Context, n int) (err error) {
	var seen look
	if seen.lock, err = l.store.ReadLock(ctx); err != nil {
		return fmt.Errorf("read the lock: %w", err)
	}
	err = atOnce(
		func() (err error) { seen.newest, err = l.newest(ctx, readClaim(seen.lock.Fields).head, n); return err },
		func() (err error) { seen.gone, err = l.marked(ctx); return err },
	)
	if err == nil {
		l.seen = &seen
	}
	return err
}

// Recent are the newest n records or some more, newest first, as List has them,
// without reading older ones. One that is to be rolled out must pass Trust.
func (l *Ledger) Recent(ctx context.Context, n int) ([]Entry, error) {
	if err := l.look(ctx, n); err != nil {
		return nil, err
	}
	return slices.Collect(l.judged(l.seen.newest, l.seen.gone)), nil
}

// newest are the n newest entries or some more, newest first, found from a number
// that was newest once, so that the cost does not grow with the number of
// records. A run that was killed may have given further numbers; a wrong hint
// costs one listing.
func (l *Ledger) newest(ctx context.Context, hint int64, n int) ([]StoredEntry, error) {
	window, err := l.window(ctx, hint, n)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(window, func(k StoredEntry) bool { return k.seq() == hint }) {
		if hint, err = l.lastListed(ctx); err != nil || hint == 0 {
			return nil, err
		}
		if window, err = l.window(ctx, hint, n); err != nil {
			return nil, err
		}
	}
	for len(window) > 0 && window[0].seq() > hint {
		hint = window[0].seq()
		next, err := l.read(ctx, recordName(hint+1))
		if err != nil {
			return nil, err
		}
		if next.found() {
			window = slices.Insert(window, 0, next)
		}
	}
	return window, nil
}

// window reads the entry after a number, that number's, and those before it, n of
// them, at the same time. What is not there is left out.
func (l *Ledger) window(ctx context.Context, hint int64, n int) ([]StoredEntry, error) {
	if hint == 0 {
		return nil, nil
	}
	found := make([]StoredEntry, min(int64(n), hint)+1)
	var reads []func() error
	for i := range found {
		name := recordName(hint + 1 - int64(i))
		reads = append(reads, func() (err error) { found[i], err = l.read(ctx, name); return err })
	}
	err := atOnce(reads...)
	return slices.DeleteFunc(found, func(k StoredEntry) bool { return !k.found() }), err
}

// lastListed is the highest number that a listing shows; 0 if there is none.
func (l *Ledger) lastListed(ctx context.Context) (int64, error) {
	names, err := l.store.Names(ctx, kindRecord)
	if err != nil {
		return 0, fmt.Errorf("list the records in %s: %w", l.store.Place(), err)
	}
	var last int64
	for _, name := range names {
		if seq, ok := nameSeq(name); ok {
			last = max(last, seq)
		}
	}
	return last, nil
}

func first(newest []StoredEntry) StoredEntry {
	if len(newest) == 0 {
		return StoredEntry{}
	}
	return newest[0]
}
