package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// NewestCopy is the newest record of the app of which the mirror holds a copy; false:
// there is none. Nothing of the copy is verified: it tells that a ledger was there.
func (l *Ledger) NewestCopy(ctx context.Context) (release.Record, bool, error) {
	if l.opts.Mirror == nil {
		return release.Record{}, false, nil
	}
	names, err := l.opts.Mirror.Names(ctx)
	if err != nil {
		return release.Record{}, false, fmt.Errorf("list the copies in %s: %w", l.opts.Mirror.Location(), err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return Kind(name) != kindRecord })
	if len(names) == 0 {
		return release.Record{}, false, nil
	}
	bySeq := func(a, b string) int {
		first, _ := nameSeq(a)
		second, _ := nameSeq(b)
		return cmp.Compare(first, second)
	}
	parts, err := l.opts.Mirror.Get(ctx, slices.MaxFunc(names, bySeq))
	if err != nil || parts == nil {
		return release.Record{}, false, err
	}
	var record release.Record
	if err := json.Unmarshal(parts[partRecord], &record); err != nil {
		return release.Record{}, false, fmt.Errorf("copy in %s: %w", l.opts.Mirror.Location(), err)
	}
	return record, record.App == l.app, nil
}
