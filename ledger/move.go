package ledger

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
)

// Move copies all that one store has into another that is empty, sealed as it
// was, and gives the number of entries. One that is not empty stays as it is,
// unless a Move that was killed has left it so: then it is given the rest. The
// first store is only read.
func Move(ctx context.Context, from, to Store) (int, error) {
	records, err := from.Names(ctx, kindRecord)
	if err != nil || len(records) == 0 {
		return 0, err
	}
	// The oldest record comes last: a store that has it has all.
	slices.SortFunc(records, func(a, b string) int { return bySeq(b, a) })
	there, err := to.Names(ctx, kindRecord)
	if err != nil || slices.ContainsFunc(there, func(name string) bool {
		return name == records[len(records)-1] || !slices.Contains(records, name)
	}) {
		return 0, err
	}
	moved := 0
	for _, kind := range []string{kindArchive, kindPart, kindSignature, kindWithdrawn} {
		err := from.Scan(ctx, kind, func(e StoredEntry) error { return moveEntry(ctx, e, from, to, &moved) })
		if err != nil {
			return moved, err
		}
	}
	for _, name := range records {
		e, err := from.Read(ctx, name)
		if err == nil {
			err = moveEntry(ctx, e, from, to, &moved)
		}
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}

func bySeq(a, b string) int {
	x, _ := nameSeq(a)
	y, _ := nameSeq(b)
	return int(x - y)
}

func moveEntry(ctx context.Context, e StoredEntry, from, to Store, moved *int) error {
	version, err := to.Create(ctx, e)
	switch {
	case err == nil && version == "":
		err = sameEntry(ctx, to, e)
	case err == nil:
		*moved++
	}
	if err != nil {
		return fmt.Errorf("move %s from %s to %s: %w", e.Name, from.Location(), to.Location(), err)
	}
	return nil
}

// sameEntry is a *ConflictError if a store has something else under the entry's name.
func sameEntry(ctx context.Context, store Store, e StoredEntry) error {
	there, err := store.Read(ctx, e.Name)
	if err == nil && !maps.EqualFunc(there.Parts, e.Parts, bytes.Equal) {
		err = &ConflictError{Seq: e.seq(), Location: store.Location()}
	}
	return err
}
