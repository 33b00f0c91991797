package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/joelhooks/shipit/release"
)

// mark says that a release must not run again. The record itself stays as it
// was sealed.
type mark struct {
	App        string    `json:"app"`
	Seq        int64     `json:"seq"`
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
	RecordHash string    `json:"recordHash"`
}

// Withdraw marks a release so that it is never rolled out again; of a rollback,
// the release that it went back to. One that is withdrawn already stays as it
// was marked, and nothing is sealed. A *MissingError says that there is no such
// record.
func (l *Ledger) Withdraw(ctx context.Context, lock *Lock, seq int64, reason string) ([]Sealed, error) {
	if seq == 0 {
		return nil, errors.New("what ran before the first release cannot be withdrawn")
	}
	if err := lock.confirm(ctx); err != nil {
		return nil, err
	}
	lock.wrote.Store(true)
	stored, err := l.lookup(ctx, recordName(seq))
	if err != nil {
		return nil, err
	}
	if !stored.found() {
		return nil, &MissingError{Seq: seq, Location: l.store.Location()}
	}
	if !stored.Sealed {
		return nil, fmt.Errorf("record #%d has not ended: only a sealed record can be withdrawn", seq)
	}
	if content := stored.record().Content(); content < seq {
		return l.Withdraw(ctx, lock, content, reason)
	}
	encoded, err := encode(mark{
		App: l.app, Seq: seq, Reason: reason, By: lock.Holder, At: l.now(), RecordHash: hash(stored.Parts[partRecord]),
	})
	if err != nil {
		return nil, err
	}
	entry := StoredEntry{Name: markName(seq), Parts: map[string][]byte{partRecord: encoded}, Sealed: true}
	// A taken name is the mark of an earlier withdrawal, which says as much.
	if entry.Version, err = l.store.Create(ctx, entry); err != nil {
		return nil, fmt.Errorf("withdraw record #%d: %w", seq, err)
	}
	if !entry.found() {
		return nil, nil
	}
	return []Sealed{{entry: entry}}, nil
}

// withdrawn are the numbers of withdrawn releases, in order.
type withdrawn []int64

// has reports whether what a record rolled out was withdrawn.
func (w withdrawn) has(rec release.Record) bool {
	return slices.Contains(w, rec.Seq) || slices.Contains(w, rec.Content())
}

// and adds those that a record knew of: a mark may have been taken away.
func (w withdrawn) and(rec release.Record) withdrawn {
	all := slices.Concat(w, rec.Withdrawals)
	slices.Sort(all)
	return slices.Compact(all)
}

// withdrawn are the releases that carry a mark.
func (l *Ledger) withdrawn(ctx context.Context) (withdrawn, error) {
	names, err := l.store.Names(ctx, kindWithdrawn)
	if err != nil {
		return nil, fmt.Errorf("list the withdrawals in %s: %w", l.store.Location(), err)
	}
	var gone withdrawn
	for _, name := range names {
		if seq, ok := nameSeq(name); ok {
			gone = append(gone, seq)
		}
	}
	return gone, nil
}
