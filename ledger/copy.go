package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Mirror keeps a second copy of what is sealed, apart from the store. It cannot
// arbitrate, so it never decides; it shows whether the first copy was altered.
type Mirror interface {
	// Put keeps an entry. A different entry of that name is left alone: error.
	Put(ctx context.Context, name string, parts map[string][]byte) error
	// Get returns an entry, or nil if there is none.
	Get(ctx context.Context, name string) (parts map[string][]byte, err error)
	// Names lists the entries of every kind, in any order.
	Names(ctx context.Context) ([]string, error)
	// Place names where it keeps things, for messages: "ghcr.io/joelhooks/worker/releases".
	Place() string
}

// Copy brings to the mirror what is sealed and not yet there, also what an
// earlier run could not copy, and returns how many entries it brought. Without
// a mirror there is nothing to do. A release is none the worse for an error.
func (l *Ledger) Copy(ctx context.Context) (int, error) {
	if l.opts.Mirror == nil {
		return 0, nil
	}
	there, err := l.opts.Mirror.Names(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the copies in %s: %w", l.opts.Mirror.Place(), err)
	}
	copied := 0
	var failed []error
	for _, kind := range []string{kindRecord, kindWithdrawn} {
		names, err := l.store.Names(ctx, kind)
		if err != nil {
			return copied, fmt.Errorf("list the records in %s: %w", l.store.Place(), err)
		}
		slices.Sort(names)
		for _, name := range names {
			if slices.Contains(there, name) {
				continue
			}
			ok, err := l.copyOne(ctx, name)
			if ok {
				copied++
			}
			failed = append(failed, err)
		}
	}
	return copied, errors.Join(failed...)
}

func (l *Ledger) copyOne(ctx context.Context, name string) (bool, error) {
	at, err := l.read(ctx, name)
	if err != nil || !at.sealed {
		return false, err
	}
	if err := l.opts.Mirror.Put(ctx, name, at.parts); err != nil {
		return false, fmt.Errorf("copy record %s to %s: %w", name, l.opts.Mirror.Place(), err)
	}
	return true, nil
}
