package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/joelhooks/shipit/release"
)

// unlockLimit is how long giving back the lock may take: expiry does it too.
const unlockLimit = 5 * time.Second

// Lock is the right to write, renewed by a heartbeat. It is lost when another run
// takes it over, or when it could not be renewed in time.
type Lock struct {
	Holder string
	Fence  int64 // fencing token: grows with every holder; written into the records

	ledger *Ledger
	view   *View           // as it was read, if nobody can have written between it and the lock; else nil
	lost   context.Context // ends with a *LostError
	lose   context.CancelCauseFunc
	stop   context.CancelFunc // ends the heartbeat
	done   chan struct{}      // closed when it has ended

	newest atomic.Int64 // the newest sequence number given; the next renewal writes it down
	wrote  atomic.Bool  // a record or a withdrawal was written under this lock: the view is the past

	process   string
	ttl       time.Duration
	renewedAt atomic.Int64 // by sinceBoot, when the last renewal that succeeded was begun

	mu      sync.Mutex // one write at a time
	lease   lease
	version string
}

// LostError says that the lock was lost while it was needed.
type LostError struct {
	Holder string // who has it now; "" if nobody is known to
	Err    error  // why it could not be renewed; nil if it was taken
}

func (e *LostError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("the lock could not be renewed in time: %v", e.Err)
	case e.Holder != "":
		return "the lock was taken over by " + e.Holder
	default:
		return "the lock was given up or removed"
	}
}

func (e *LostError) Unwrap() error { return e.Err }

// ViewHolds reports whether the lock was taken just as the view of its options
// saw it. Then nobody else can have written since, and what was read after the
// view holds too.
func (k *Lock) ViewHolds() bool { return k.view != nil }

// Context is a context that also ends, with a *LostError as its cause, when the
// lock is lost, and that lets no write pass without it; targets learn the fence from
// it. stop must be called when it is no longer needed.
func (k *Lock) Context(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	ctx = release.WithGuard(ctx, release.Guard{Before: func(context.Context, release.Write) error {
		return k.check(context.WithoutCancel(parent)) // parent lets the renewal pass
	}})
	ctx = release.WithFence(ctx, release.Fence{Ledger: k.ledger.store.Location(), Number: k.Fence})
	unhook := context.AfterFunc(k.lost, func() { cancel(context.Cause(k.lost)) })
	return ctx, func() {
		unhook()
		cancel(nil)
	}
}

// held is nil if nobody can have taken the lock over: it was renewed so lately
// that it has not expired, by a clock that runs on while the process is stopped
// or the machine sleeps. It asks nobody, so it can stand before each write.
// Otherwise it is a *LostError; Check may still find that the lock is ours.
func (k *Lock) held() error {
	if k.lost.Err() != nil {
		return context.Cause(k.lost)
	}
	if age := k.age(); age >= certainFor(k.ttl) {
		return &LostError{Err: fmt.Errorf("it was renewed %s ago, and expires after %s", age.Round(time.Millisecond), k.ttl)}
	}
	return nil
}

// check is Held, and where that is not certain renews the lock on the spot, which
// succeeds only if nobody has taken it over. A *LostError says that it is lost.
func (k *Lock) check(ctx context.Context) error {
	if k.held() == nil {
		return nil
	}
	if k.lost.Err() != nil {
		return context.Cause(k.lost)
	}
	err := k.renew(ctx)
	k.loseIfLost(err)
	return err
}

// age is how long ago the last renewal was begun.
func (k *Lock) age() time.Duration { return sinceBoot() - time.Duration(k.renewedAt.Load()) }

// Unlock gives the lock back, so that the next run need not wait for its
// expiry. It works after ctx has ended. A lock that was lost is left alone.
func (k *Lock) Unlock(ctx context.Context) error {
	k.stop()
	<-k.done
	removeMarker(k.process)
	if k.lost.Err() != nil {
		return nil
	}
	defer k.lose(&LostError{})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockLimit)
	defer cancel()
	if err := k.write(ctx, func(l *lease) { l.holder, l.process = "", "" }); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return nil
}

// startRenewing starts the heartbeat of a lock that was just taken.
func (k *Lock) startRenewing(ctx context.Context) {
	// What a run cleans up after an interrupt still needs the lock, so it outlives ctx.
	lasting := context.WithoutCancel(ctx)
	k.lost, k.lose = context.WithCancelCause(lasting)
	renewals, stop := context.WithCancel(lasting)
	k.stop, k.done = stop, make(chan struct{})
	k.newest.Store(k.lease.newest)
	go k.renewAlways(renewals)
}

// renewAlways renews the lease until ctx ends or the lock is lost. It gives up
// while there is still time for what was begun to stop.
func (k *Lock) renewAlways(ctx context.Context) {
	defer close(k.done)
	for wait := renewInterval(k.ttl); ; {
		if pause(ctx, wait) != nil {
			return
		}
		left := certainFor(k.ttl) - k.age()
		limited, cancel := context.WithTimeout(ctx, max(min(renewInterval(k.ttl), left), retryInterval(k.ttl)))
		err := k.renew(limited)
		cancel()
		var lost *LostError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait = renewInterval(k.ttl)
			continue
		case errors.As(err, &lost):
			k.lose(lost)
			return
		}
		if left = certainFor(k.ttl) - k.age(); left <= 0 {
			k.lose(&LostError{Err: err})
			return
		}
		wait = min(retryInterval(k.ttl), left)
	}
}

func (k *Lock) renew(ctx context.Context) error {
	return k.write(ctx, func(l *lease) { l.renewed = k.ledger.now() })
}

// writeTries is how often a write of the lock is tried at most: those who wait
// for it write it too.
const writeTries = 20

// write changes this run's lease. A *LostError says that it is this run's no more.
func (k *Lock) write(ctx context.Context, change func(*lease)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range writeTries {
		next, asked := k.lease, sinceBoot()
		next.newest = k.newest.Load()
		change(&next)
		version, err := k.ledger.store.SwapLock(ctx, StoredLock{Fields: next.fields(), Version: k.version})
		if err != nil {
			return err
		}
		if version != "" {
			k.lease, k.version = next, version
			k.renewedAt.Store(int64(asked))
			return nil
		}
		// One who waits may have written, or the answer to a write of our own was lost on its way.
		stored, now, err := k.stored(ctx)
		if err != nil {
			return err
		}
		k.version, k.lease.waiting = stored, now.waiting
	}
	return fmt.Errorf("others have written the lock %d times in a row", writeTries)
}

// confirm asks the store whether the lock is still this run's. Only the store's
// word counts: a lock that expired and that nobody took is still held.
func (k *Lock) confirm(ctx context.Context) error {
	_, _, err := k.stored(ctx)
	k.loseIfLost(err)
	return err
}

func (k *Lock) loseIfLost(err error) {
	var lost *LostError
	if errors.As(err, &lost) {
		k.lose(lost)
	}
}

// stored is this run's lease as it is stored, or a *LostError.
func (k *Lock) stored(ctx context.Context) (version string, now lease, err error) {
	stored, err := k.ledger.store.ReadLock(ctx)
	if err != nil {
		return "", lease{}, fmt.Errorf("read the lock: %w", err)
	}
	now = parseLease(stored.Fields)
	if stored.Version == "" || now.holder != k.Holder || now.fence != k.Fence {
		return "", lease{}, &LostError{Holder: now.holder}
	}
	return stored.Version, now, nil
}
