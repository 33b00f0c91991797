package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// View is what the ledger said at one moment: its newest records, and all that
// Lock and Begin need to know. It can be read while other things are done.
type View struct {
	Entries []Entry // newest first, as List has the records; one that is to be rolled out must pass Trust

	lock      StoredLock // read before all else
	newest    StoredEntry
	withdrawn withdrawn
}

// Records are the records of the entries, newest first.
func (v View) Records() []release.Record {
	var records []release.Record
	for _, e := range v.Entries {
		records = append(records, e.Record)
	}
	return records
}

// Free reports whether nobody held the lock.
func (v View) Free() bool {
	return v.lock.Version == "" || parseLease(v.lock.Fields).holder == ""
}

// View reads the newest n records or some more, and none that is older.
func (l *Ledger) View(ctx context.Context, n int) (v View, err error) {
	if v.lock, err = l.store.ReadLock(ctx); err != nil {
		return View{}, fmt.Errorf("read the lock: %w", err)
	}
	var newest []StoredEntry
	err = atOnce(
		func() (err error) { newest, err = l.newest(ctx, parseLease(v.lock.Fields).newest, n); return err },
		func() (err error) { v.withdrawn, err = l.withdrawn(ctx); return err },
	)
	if err != nil {
		return View{}, err
	}
	v.newest = first(newest)
	for i, e := range newest {
		// What is altered has no objects then, which its hash tells.
		var altered *AlteredError
		if newest[i], err = l.joined(ctx, e); err != nil && !errors.As(err, &altered) {
			return View{}, err
		}
	}
	for e := range l.entries(newest, v.withdrawn) {
		for role, objects := range e.Objects {
			for i := range objects {
				objects[i] = v.held(role, i, objects[i])
			}
		}
		v.Entries = append(v.Entries, e)
	}
	return v, nil
}

// held is an object as an entry has it already, or itself: most objects are the same
// from release to release, and are held once.
func (v View) held(role string, at int, object json.RawMessage) json.RawMessage {
	for _, e := range v.Entries {
		if same := e.Objects[role]; at < len(same) && bytes.Equal(same[at], object) {
			return same[at]
		}
	}
	return object
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
	if !slices.ContainsFunc(window, func(e StoredEntry) bool { return e.seq() == hint }) {
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
	return slices.DeleteFunc(found, func(e StoredEntry) bool { return !e.found() }), err
}

// lastListed is the highest number that a listing shows; 0 if there is none.
func (l *Ledger) lastListed(ctx context.Context) (int64, error) {
	names, err := l.store.Names(ctx, kindRecord)
	if err != nil {
		return 0, fmt.Errorf("list the records in %s: %w", l.store.Location(), err)
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
