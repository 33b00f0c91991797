package ledger

import (
	"context"
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
// was marked. A *MissingError says that there
// is no such record.
func (l *Ledger) Withdraw(ctx context.Context, lock *Lock, seq int64, reason string) error {
	if err := lock.check(ctx); err != nil {
		return err
	}
	at, err := l.read(ctx, recordName(seq))
	if err != nil {
		return err
	}
	if !at.found() {
		return &MissingError{Seq: seq, Place: l.store.Place()}
	}
	if !at.Sealed {
		return fmt.Errorf("record #%d has not ended: only a sealed record can be withdrawn", seq)
	}
	if content := at.record().Content(); content < seq {
		return l.Withdraw(ctx, lock, content, reason)
	}
	marked, err := encode(mark{
		App: l.app, Seq: seq, Reason: reason, By: lock.Holder, At: l.now(), RecordHash: hash(at.Parts[partRecord]),
	})
	if err != nil {
		return err
	}
	parts := map[string][]byte{partRecord: marked}
	l.sign(ctx, seq, parts)
	// A taken name is the mark of an earlier withdrawal, which says as much.
	marking := StoredEntry{Name: markName(seq), Parts: parts, Sealed: true}
	if marking.Version, err = l.store.Create(ctx, marking); err != nil {
		return fmt.Errorf("withdraw record #%d: %w", seq, err)
	}
	if marking.found() {
		l.copies.owe(marking)
	}
	return nil
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

// marked are the releases that carry a mark.
func (l *Ledger) marked(ctx context.Context) (withdrawn, error) {
	names, err := l.store.Names(ctx, kindWithdrawn)
	if err != nil {
		return nil, fmt.Errorf("list the withdrawals in %s: %w", l.store.Place(), err)
	}
	var gone withdrawn
	for _, name := range names {
		if seq, ok := nameSeq(name); ok {
			gone = append(gone, seq)
		}
	}
	return gone, nil
}
