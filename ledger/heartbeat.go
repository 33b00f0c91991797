package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// releaseLimit is how long giving back the lock may take: expiry does it too.
const releaseLimit = 5 * time.Second

// Lock is the right to write, kept by a heartbeat. It is lost when another run
// takes it over, or when it could not be renewed in time.
type Lock struct {
	Holder string
	Fence  int64 // grows with every holder; kept in the records

	ledger *Ledger
	lost   context.Context // ends with a *LostError
	lose   context.CancelCauseFunc
	stop   context.CancelFunc // ends the heartbeat
	done   chan struct{}      // closed when it has ended

	head   atomic.Int64 // the newest number given; the next renewal writes it down
	taken  time.Time
	asSeen bool
	seen   *look // what is known of the records; nil once a record was begun

	mu      sync.Mutex
	claim   claim
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

// hold starts the heartbeat of a lock that was just taken.
func hold(ctx context.Context, l *Ledger, mine claim, version string) *Lock {
	// Clean-up after an interrupt still needs the lock, so it outlives ctx.
	lasting := context.WithoutCancel(ctx)
	k := &Lock{Holder: mine.holder, Fence: mine.fence, ledger: l, claim: mine, version: version, done: make(chan struct{}), taken: time.Now()}
	k.lost, k.lose = context.WithCancelCause(lasting)
	beats, stop := context.WithCancel(lasting)
	k.stop = stop
	k.head.Store(mine.head)
	go k.beat(beats)
	return k
}

// knowing keeps what was seen before the lock was taken as it was seen. A nil lock
// stays nil.
func (k *Lock) knowing(seen *look) *Lock {
	if k != nil {
		k.seen, k.asSeen = seen, true
	}
	return k
}

// AsSeen reports whether the lock was taken just as a Look saw it. Then nobody else
// has had it since, and what was read after the Look still stands.
func (k *Lock) AsSeen() bool { return k.asSeen }

// Context is a context that also ends, with a *LostError as its cause, when the
// lock is lost. stop must be called when it is no longer needed.
func (k *Lock) Context(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(k.lost, func() { cancel(context.Cause(k.lost)) })
	return ctx, func() {
		unhook()
		cancel(nil)
	}
}

// Release gives the lock back, so that the next run need not wait for its
// expiry. It works after ctx has ended. A lock that was lost is left alone.
func (k *Lock) Release(ctx context.Context) error {
	k.stop()
	<-k.done
	if k.lost.Err() != nil {
		return nil
	}
	defer k.lose(&LostError{})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := k.write(ctx, func(c *claim) { c.holder, c.process = "", "" }); err != nil {
		return fmt.Errorf("release the lock: %w", err)
	}
	return nil
}

// beat renews the lock three times a TTL. It gives up while there is still time
// for what was begun to stop before another run may take over.
func (k *Lock) beat(ctx context.Context) {
	defer close(k.done)
	ttl := k.claim.ttl
	renewed, wait := time.Now(), ttl/3
	for {
		if pause(ctx, wait) != nil {
			return
		}
		last := renewed.Add(ttl - ttl/6)
		began := time.Now()
		err := k.renew(ctx, min(ttl/3, time.Until(last)))
		var lost *LostError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed, wait = began, ttl/3
		case errors.As(err, &lost):
			k.lose(lost)
			return
		case !time.Now().Before(last):
			k.lose(&LostError{Err: err})
			return
		default:
			wait = min(ttl/20, max(time.Until(last), 0))
		}
	}
}

func (k *Lock) renew(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return k.write(ctx, func(c *claim) { c.renewed = k.ledger.now() })
}

// write changes this run's claim. A *LostError says that it is this run's no more.
func (k *Lock) write(ctx context.Context, change func(*claim)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.claim
	next.head = k.head.Load()
	change(&next)
	swap := StoredLock{Fields: next.fields(), Version: k.version}
	version, err := k.ledger.store.SwapLock(ctx, swap)
	if err == nil && version == "" {
		// The answer to an earlier write of our own may have been lost on its way.
		swap.Version, err = k.own(ctx)
		if err == nil {
			version, err = k.ledger.store.SwapLock(ctx, swap)
		}
		if err == nil && version == "" {
			return &LostError{}
		}
	}
	if err != nil {
		return err
	}
	k.claim, k.version = next, version
	return nil
}

// check asks the store whether the lock is still this run's. Only the store's
// word counts: a lock that expired and that nobody took is still held.
func (k *Lock) check(ctx context.Context) error {
	_, err := k.own(ctx)
	var lost *LostError
	if errors.As(err, &lost) {
		k.lose(lost)
	}
	return err
}

// own returns the version of this run's claim, or a *LostError.
func (k *Lock) own(ctx context.Context) (version string, err error) {
	at, err := k.ledger.store.ReadLock(ctx)
	if err != nil {
		return "", fmt.Errorf("read the lock: %w", err)
	}
	now := readClaim(at.Fields)
	if at.Version == "" || now.holder != k.Holder || now.fence != k.Fence {
		return "", &LostError{Holder: now.holder}
	}
	return at.Version, nil
}
