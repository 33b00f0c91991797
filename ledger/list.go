package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// pageReads are how many records of a page are read at the same time.
const pageReads = 16

// List returns records, newest first: at most limit of them, or all for 0, of
// those before a number, or from the newest on for 0. What it costs grows with
// the limit, not with the number of records. One that is not what was stored is
// listed with Altered set, so that it is seen and never chosen.
func (l *Ledger) List(ctx context.Context, limit int, before int64) ([]release.Record, error) {
	var head StoredEntry
	var gone withdrawn
	err := atOnce(
		func() (err error) { gone, err = l.withdrawn(ctx); return err },
		func() (err error) { head, err = l.head(ctx); return err },
	)
	if err != nil {
		return nil, err
	}
	if before == 0 || before > head.seq() {
		before = head.seq() + 1
	}
	stored, err := l.page(ctx, limit, before, head)
	if err != nil {
		return nil, err
	}
	records := []release.Record{}
	for e := range l.entries(stored, gone.and(head.record())) {
		if e.Record.Seq < before && (limit <= 0 || len(records) < limit) {
			records = append(records, e.Record)
		}
	}
	return records, nil
}

// ListSince is List of the records that began at that time or later.
func (l *Ledger) ListSince(ctx context.Context, since time.Time, limit int, before int64) ([]release.Record, error) {
	earlier := func(r release.Record) bool { return r.StartedAt.Before(since) }
	newest, err := l.Newest(ctx, func(newest []release.Record) bool { return slices.ContainsFunc(newest, earlier) })
	newest = slices.DeleteFunc(newest, func(r release.Record) bool { return earlier(r) || before > 0 && r.Seq >= before })
	if limit > 0 && len(newest) > limit {
		newest = newest[:limit]
	}
	return append([]release.Record{}, newest...), err
}

// page reads the limit entries before a number or some more, or all for 0, newest
// first, and ahead of them the one of that number, which tells whether the first
// of them was altered.
func (l *Ledger) page(ctx context.Context, limit int, before int64, head StoredEntry) ([]StoredEntry, error) {
	if limit <= 0 {
		stored, err := l.all(ctx)
		slices.Reverse(stored)
		return slices.DeleteFunc(stored, func(e StoredEntry) bool { return e.seq() > before }), err
	}
	var page []StoredEntry
	from, want := before, limit+1
	if before > head.seq() {
		from, want = head.seq(), limit
	}
	for from > 0 && want > 0 {
		count := min(int64(max(want, pageReads)), from) // numbers whose records are gone do not count
		more, err := l.run(ctx, from, count)
		if err != nil {
			return nil, err
		}
		page, from, want = append(page, more...), from-count, want-len(more)
	}
	return page, nil
}

// run reads n entries from a number down. What is not there is left out.
func (l *Ledger) run(ctx context.Context, from, n int64) ([]StoredEntry, error) {
	found := make([]StoredEntry, n)
	err := someAtOnce(pageReads, found, func(i int, _ StoredEntry) (err error) {
		found[i], err = l.read(ctx, recordName(from-int64(i)))
		return err
	})
	return slices.DeleteFunc(found, func(e StoredEntry) bool { return !e.found() }), err
}

// firstPage is how many records Newest reads before it asks; each further page is
// four times as large, and after lastPage all that is left is read at once.
const (
	firstPage = 16
	lastPage  = 256
)

// Newest returns the newest records, newest first, as many as it takes until
// enough says so of them; if it never does, all. Each page is passed with those
// before it.
func (l *Ledger) Newest(ctx context.Context, enough func(newest []release.Record) bool) ([]release.Record, error) {
	var newest []release.Record
	before := int64(0)
	for limit := firstPage; ; limit *= 4 {
		if limit > lastPage {
			limit = 0
		}
		page, err := l.List(ctx, limit, before)
		if err != nil {
			return nil, err
		}
		newest = append(newest, page...)
		if len(page) == 0 || limit == 0 || len(page) < limit || enough(newest) {
			return newest, nil
		}
		before = page[len(page)-1].Seq
	}
}
