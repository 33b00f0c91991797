package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// SupersededError says that a newer commit waits for the lock as well, or has
// taken it since: the older one need not be released any more.
type SupersededError struct {
	By     string // what supersedes, such as a commit
	Holder string // who releases it
}

func (e *SupersededError) Error() string {
	return fmt.Sprintf("superseded by %s, which %s releases", e.By, e.Holder)
}

// ticket is the turn of the one run that waits for the lock, written in the lock
// itself. Of two that wait the one with the higher order goes on waiting.
type ticket struct {
	What    string    `json:"what"` // such as a commit
	Order   int64     `json:"order"`
	Holder  string    `json:"holder"`
	TTL     string    `json:"ttl"`
	Renewed time.Time `json:"renewed"` // by the waiter's clock
}

// parseTicket reads a ticket; one that cannot be read is that of nobody.
func parseTicket(text string) ticket {
	var t ticket
	_ = json.Unmarshal([]byte(text), &t)
	return t
}

func (t ticket) String() string {
	text, _ := json.Marshal(t) // text, numbers and a time always encode
	return string(text)
}

// lease is the ticket as a lease, so that one rule says whether its waiter is gone.
func (t ticket) lease() lease {
	ttl, err := time.ParseDuration(t.TTL)
	if err != nil || ttl <= 0 || ttl > longestTTL {
		ttl = defaultTTL
	}
	return lease{holder: t.Holder, ttl: ttl, renewed: t.Renewed}
}

// waiter is one run that waits for its turn.
type waiter struct {
	ledger *Ledger
	opts   LockOptions
	mine   ticket
	wrote  time.Time   // when it was written last
	other  observation // another waiter's ticket
	since  int64       // the fencing token when the waiting began; -1 before
}

func (l *Ledger) newWaiter(opts LockOptions) *waiter {
	return &waiter{ledger: l, opts: opts, since: -1, mine: ticket{
		What: opts.What, Order: opts.Order, Holder: opts.Holder, TTL: opts.TTL.String(),
	}}
}

// turn enters this run among those that wait. It reports whether the lock
// may be taken when it is free; a *SupersededError ends the waiting.
func (w *waiter) turn(ctx context.Context, stored StoredLock, now lease, free bool) (bool, error) {
	if w.opts.Wait == 0 || w.opts.Order == 0 || stored.Version == "" {
		return true, nil
	}
	if w.since < 0 {
		w.since = now.fence
		if now.holder != "" && !free {
			w.since-- // one that is at work when the waiting begins counts too
		}
	}
	if now.fence > w.since && now.order > w.opts.Order {
		return false, &SupersededError{By: now.what, Holder: now.holder}
	}
	there := parseTicket(now.waiting)
	mine := there.Holder == w.opts.Holder
	if there.Holder != "" && !mine && there.Order >= w.opts.Order {
		if gone, err := w.behind(there); err != nil || !gone {
			return false, err
		}
	}
	if free || mine && time.Since(w.wrote) < renewInterval(w.opts.TTL) {
		return true, nil
	}
	return true, w.write(ctx, stored)
}

// behind looks at a waiter that this run stands behind. One that is alive
// supersedes it; gone says that it does not count.
func (w *waiter) behind(there ticket) (gone bool, err error) {
	lease := there.lease()
	if lease.alive(w.other, w.ledger.now()) {
		return false, &SupersededError{By: there.What, Holder: there.Holder}
	}
	if w.other.unchanged(lease) {
		return lease.free(w.other), nil
	}
	w.other = observation{lease: lease, at: time.Now()}
	return false, nil
}

// write takes or renews this run's turn. If another run has written the lock in
// between it is tried again with the next reading.
func (w *waiter) write(ctx context.Context, stored StoredLock) error {
	w.mine.Renewed = w.ledger.now()
	next := StoredLock{Fields: maps.Clone(stored.Fields), Version: stored.Version}
	next.Fields["waiting"] = w.mine.String()
	version, err := w.ledger.store.SwapLock(ctx, next)
	if err != nil {
		return fmt.Errorf("wait for the lock: %w", err)
	}
	if version != "" {
		w.wrote = time.Now()
	}
	return nil
}
