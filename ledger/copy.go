package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Mirror keeps a second copy of what is sealed, apart from the store. It cannot
// arbitrate, so it never decides; it shows whether the first copy was altered.
type Mirror interface {
	// Put keeps an entry. A different entry of that name is left alone: error.
	Put(ctx context.Context, name string, parts map[string][]byte) error
	// Stage brings parts ahead of the entry that will have them. Nobody sees them,
	// and it need not be done.
	Stage(ctx context.Context, parts map[string][]byte) error
	// Get returns an entry, or nil if there is none.
	Get(ctx context.Context, name string) (parts map[string][]byte, err error)
	// Names lists the entries of every kind, in any order.
	Names(ctx context.Context) ([]string, error)
	// Place names where it keeps things, for messages: "ghcr.io/joelhooks/worker/releases".
	Place() string
}

// copies is what is known of the mirror, and what is still owed to it.
type copies struct {
	one   sync.Mutex      // of several Copy
	there map[string]bool // what the mirror has; nil until it was asked

	mu    sync.Mutex
	owed  []StoredEntry // sealed by this run
	begun StoredEntry   // by this run, and not yet sealed when it was noted
	gone  withdrawn
}

// begin notes what this run knows of the store, so that it need not be listed.
func (c *copies) begin(k StoredEntry, gone withdrawn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.gone = k, gone
}

// names are those of all entries that there can be, as far as this run knows.
func (c *copies) names() (before []string, begun StoredEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for seq := int64(1); seq < c.begun.seq(); seq++ {
		before = append(before, recordName(seq))
	}
	for _, seq := range c.gone {
		before = append(before, markName(seq))
	}
	return before, c.begun
}

func (c *copies) owe(k StoredEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed = append(c.owed, k)
}

func (c *copies) take() []StoredEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	owed := c.owed
	c.owed = nil
	return owed
}

// Copy brings to the mirror what is sealed and not yet there, also what an
// earlier run could not copy, and returns how many entries it brought. Without
// a mirror there is nothing to do. A release is none the worse for an error.
//
// It may run while a release is under way: then it brings ahead what will stay of
// the begun record, and the next Copy has little to do.
func (l *Ledger) Copy(ctx context.Context) (int, error) {
	if l.opts.Mirror == nil {
		return 0, nil
	}
	l.copies.one.Lock()
	defer l.copies.one.Unlock()
	copied, failed := 0, error(nil)
	if l.copies.there == nil {
		copied, failed = l.copyMissing(ctx)
	}
	for _, k := range l.copies.take() {
		if l.copies.there[k.Name] {
			continue
		}
		if err := l.put(ctx, k); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		copied++
	}
	if failed != nil {
		l.copies.there = nil // the next one looks for what is missing
	}
	return copied, failed
}

// copyMissing looks at both sides.
func (l *Ledger) copyMissing(ctx context.Context) (int, error) {
	there, err := l.opts.Mirror.Names(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the copies in %s: %w", l.opts.Mirror.Place(), err)
	}
	l.copies.there = map[string]bool{}
	for _, name := range there {
		l.copies.there[name] = true
	}
	names, begun := l.copies.names()
	if !begun.found() {
		if names, err = l.listed(ctx); err != nil {
			return 0, err
		}
	}
	copied := 0
	var failed []error
	for _, name := range names {
		if l.copies.there[name] {
			continue
		}
		ok, err := l.copyOne(ctx, name)
		if ok {
			copied++
		}
		failed = append(failed, err)
	}
	return copied, errors.Join(append(failed, l.stage(ctx, begun))...)
}

// listed are the names of all records and marks, oldest first.
func (l *Ledger) listed(ctx context.Context) ([]string, error) {
	var all []string
	for _, kind := range []string{kindRecord, kindWithdrawn} {
		names, err := l.store.Names(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("list the records in %s: %w", l.store.Place(), err)
		}
		slices.Sort(names)
		all = append(all, names...)
	}
	return all, nil
}

func (l *Ledger) copyOne(ctx context.Context, name string) (bool, error) {
	at, err := l.read(ctx, name)
	if err != nil || !at.Sealed {
		return false, err
	}
	err = l.put(ctx, at)
	return err == nil, err
}

// stage brings ahead what will stay of a begun entry.
func (l *Ledger) stage(ctx context.Context, begun StoredEntry) error {
	if !begun.found() {
		return nil
	}
	stays := maps.Clone(begun.Parts)
	delete(stays, partRecord)
	if err := l.opts.Mirror.Stage(ctx, stays); err != nil {
		return fmt.Errorf("bring parts of record %s to %s: %w", begun.Name, l.opts.Mirror.Place(), err)
	}
	return nil
}

func (l *Ledger) put(ctx context.Context, k StoredEntry) error {
	if err := l.opts.Mirror.Put(ctx, k.Name, k.Parts); err != nil {
		return fmt.Errorf("copy record %s to %s: %w", k.Name, l.opts.Mirror.Place(), err)
	}
	l.copies.there[k.Name] = true
	return nil
}
