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
// listed with Altered set, so that it is seen and never chosen. Archived records
// are read from the mirror.
func (l *Ledger) List(ctx context.Context, limit int, before int64) ([]release.Record, error) {
	p, err := l.storedPage(ctx, limit, before)
	if err != nil {
		return nil, err
	}
	want := limit + 1 // the first tells whether the next one was altered
	if p.before > p.head.seq() {
		want = limit
	}
	if limit <= 0 || len(p.entries) < want || holed(p.entries) {
		if p.entries, err = l.withArchived(ctx, p.entries, limit, p.before); err != nil {
			return nil, err
		}
	}
	return l.records(p, limit), nil
}

func (l *Ledger) records(p storedPage, limit int) []release.Record {
	return l.listed(p.entries, p.gone.and(p.head.record()), limit, p.before)
}

// holed reports whether numbers are missing among entries, newest first.
func holed(entries []StoredEntry) bool {
	n := len(entries)
	return n > 0 && entries[0].seq()-entries[n-1].seq() != int64(n-1)
}

// withArchived adds to a page of the store the entries that are archived, and takes
// those from the archive that a move which was killed has left in the store.
func (l *Ledger) withArchived(ctx context.Context, stored []StoredEntry, limit int, before int64) ([]StoredEntry, error) {
	if n := len(stored); n > 0 && stored[n-1].seq() == 1 && !holed(stored) {
		return stored, nil // all are there
	}
	a, err := l.archive(ctx)
	if err != nil || a.newest.To == 0 {
		return stored, err
	}
	stored = slices.DeleteFunc(stored, func(e StoredEntry) bool { return a.has(e.seq()) })
	count := 0
	if limit > 0 {
		if count = limit + 1 - len(stored); count <= 0 {
			return stored, nil
		}
	}
	archived, err := a.down(ctx, min(before, a.newest.To), count)
	return append(stored, archived...), err
}

func (l *Ledger) headAndWithdrawn(ctx context.Context) (head StoredEntry, gone withdrawn, err error) {
	err = atOnce(
		func() (err error) { gone, err = l.withdrawn(ctx); return err },
		func() (err error) { head, err = l.head(ctx); return err },
	)
	return head, gone, err
}

// listed are the records of entries, limit of them or all for 0, before a number.
func (l *Ledger) listed(newest []StoredEntry, gone withdrawn, limit int, before int64) []release.Record {
	records := []release.Record{}
	for e := range l.entries(newest, gone) {
		if e.Record.Seq < before && (limit <= 0 || len(records) < limit) {
			records = append(records, e.Record)
		}
	}
	return records
}

// Stored returns the records that are in the store, newest first: all that are not
// archived.
func (l *Ledger) Stored(ctx context.Context) ([]release.Record, error) {
	p, err := l.storedPage(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	return l.records(p, 0), nil
}

// storedPage is what a page of the records has in the store.
type storedPage struct {
	entries []StoredEntry // newest first
	head    StoredEntry
	gone    withdrawn
	before  int64 // the number after the newest of the page
}

func (l *Ledger) storedPage(ctx context.Context, limit int, before int64) (storedPage, error) {
	head, gone, err := l.headAndWithdrawn(ctx)
	if err != nil {
		return storedPage{}, err
	}
	if before == 0 || before > head.seq() {
		before = head.seq() + 1
	}
	return l.pageBefore(ctx, storedPage{head: head, gone: gone, before: before}, limit)
}

// pageBefore reads the entries of a page of which the rest is known.
func (l *Ledger) pageBefore(ctx context.Context, p storedPage, limit int) (storedPage, error) {
	var err error
	p.entries, err = l.page(ctx, limit, p.before, p.head)
	return p, err
}

// ListSince is List of the records that began at that time or later.
func (l *Ledger) ListSince(ctx context.Context, since time.Time, limit int, before int64) ([]release.Record, error) {
	found := []release.Record{}
	for {
		page, err := l.List(ctx, pageReads, before)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if r.StartedAt.Before(since) || limit > 0 && len(found) == limit {
				return found, nil
			}
			found = append(found, r)
		}
		if before = oldest(page); len(page) < pageReads || before == 0 {
			return found, nil
		}
	}
}

// oldest is the number of the last record of a page; 0 if nothing can be before it.
func oldest(page []release.Record) int64 {
	if len(page) == 0 {
		return 0
	}
	return page[len(page)-1].Seq
}

// page reads from the store the limit entries before a number or some more, or all
// for 0, newest first, and ahead of them the one of that number, which tells whether
// the first of them was altered.
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
	for least := 0; from > 0 && want > 0; least = pageReads { // numbers whose records are gone do not count
		count := min(int64(max(want, least)), from)
		more, err := l.run(ctx, from, count)
		if err != nil {
			return nil, err
		}
		page, from, want = append(page, more...), from-count, want-len(more)
		if len(more) > 0 {
			continue
		}
		if a, err := l.archive(ctx); err != nil || a.has(from) {
			return page, err
		}
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

// newestPage is how many records Newest reads before it asks: what is asked for is nearly
// always among them. Each further page is four times as large, and after lastPage all that
// is left is read at once.
const (
	newestPage = 4
	lastPage   = 256
)

// Newest returns the newest records, newest first, as many as it takes until
// enough says so of them; if it never does, all. Each page is passed with those
// before it. Of an archived record it has only what a rollback chooses it by: Read
// has the rest.
func (l *Ledger) Newest(ctx context.Context, enough func(newest []release.Record) bool) ([]release.Record, error) {
	newest, found, err := l.NewestStored(ctx, enough)
	if err != nil || found {
		return newest, err
	}
	a, err := l.archive(ctx)
	if err != nil || a.newest.To == 0 {
		return newest, err
	}
	newest = slices.DeleteFunc(newest, func(r release.Record) bool { return a.has(r.Seq) }) // left by a move that was killed
	head, gone, err := l.headAndWithdrawn(ctx)
	if err != nil {
		return nil, err
	}
	for records, err := range a.indexed(ctx, gone.and(head.record())) {
		if newest = append(newest, records...); err != nil || enough(newest) {
			return newest, err
		}
	}
	return newest, nil
}

// NewestStored is Newest of the records that are in the store; found reports whether
// they are enough.
func (l *Ledger) NewestStored(ctx context.Context, enough func(newest []release.Record) bool) (newest []release.Record, found bool, err error) {
	p, err := l.storedPage(ctx, newestPage, 0)
	for limit := newestPage; ; {
		if err != nil {
			return nil, false, err
		}
		page := l.records(p, limit)
		newest = append(newest, page...)
		switch {
		case len(newest) > 0 && enough(newest):
			return newest, true, nil
		case limit == 0 || len(page) < limit || oldest(page) == 0:
			return newest, false, nil
		}
		if limit *= 4; limit > lastPage {
			limit = 0
		}
		p.before = oldest(page)
		p, err = l.pageBefore(ctx, p, limit)
	}
}
