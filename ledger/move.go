package ledger

import (
	"context"
	"fmt"
)

// Move copies all that one store keeps into another that is empty, sealed as it
// was, and gives the number of entries. One that is not empty stays as it is. The
// first store is only read.
func Move(ctx context.Context, from, to Store) (int, error) {
	names, err := to.Names(ctx, kindRecord)
	if err != nil || len(names) > 0 {
		return 0, err
	}
	moved := 0
	for _, kind := range []string{kindRecord, kindWithdrawn} {
		err := from.Scan(ctx, kind, func(e StoredEntry) error {
			version, err := to.Create(ctx, e)
			if err != nil || version == "" {
				return fmt.Errorf("move %s from %s to %s: %w", e.Name, from.Place(), to.Place(), err)
			}
			moved++
			return nil
		})
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}
