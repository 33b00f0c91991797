package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/joelhooks/shipit/release"
)

// LockOptions say how the lock is taken; the zero value works.
type LockOptions struct {
	Holder string        // default Holder()
	TTL    time.Duration // a holder that has not renewed for so long is gone; default 15s
	Wait   time.Duration // how long a living holder is waited for; 0: not at all

	// What is released and its Order, such as a commit and its time. Of two runs that
	// wait only the one with the higher order goes on waiting, and one that waits ends
	// when a higher one has begun: *SupersededError. With order 0 it waits whatever
	// others do.
	What  string
	Order int64

	// View is what was read before. If the lock was free in it, and still is, then
	// nobody can have written since, and nothing is read again.
	View View
}

// HeldError says that another living run holds the lock.
type HeldError struct {
	Holder  string
	Since   time.Time // by the holder's clock
	Expires time.Time // by the holder's clock, unless it renews
	Err     error     // why the waiting ended; nil without waiting
}

func (e *HeldError) Error() string {
	s := fmt.Sprintf("the lock is held by %s since %s", e.Holder, e.Since.UTC().Format(time.RFC3339))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *HeldError) Unwrap() error { return e.Err }

func heldBy(l lease, err error) *HeldError {
	return &HeldError{Holder: l.holder, Since: l.acquired, Expires: l.renewed.Add(l.ttl), Err: err}
}

// Lock takes the app's lock and renews it by a heartbeat until Unlock, also
// after ctx has ended. A *HeldError says that another living run holds it, a
// *SupersededError that it need not be waited for.
//
// Clocks of different machines are not compared. A holder on this machine is
// known to be alive or dead by its process; any other must be seen to renew
// within its TTL, and is taken over if it does not.
func (l *Ledger) Lock(ctx context.Context, opts LockOptions) (*Lock, error) {
	if opts.Holder == "" {
		opts.Holder = newHolder()
	}
	if opts.TTL <= 0 {
		opts.TTL = defaultTTL
	}
	if lock, err := l.takeAsViewed(ctx, opts); lock != nil || err != nil {
		return lock, err
	}
	if opts.Wait > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, opts.Wait, fmt.Errorf("it was not given up within %s", opts.Wait))
		defer stop()
	}
	var last observation
	waiting := l.newWaiter(opts)
	for {
		stored, err := l.store.ReadLock(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the lock: %w", err)
		}
		now := parseLease(stored.Fields)
		free := stored.Version == "" || now.free(last)
		mayTake, err := waiting.turn(ctx, stored, now, free)
		if err != nil {
			return nil, err
		}
		if free && mayTake {
			lock, err := l.take(ctx, stored, nil, opts)
			if lock != nil || err != nil {
				if err == nil && opts.Wait > 0 && last.lease.holder != "" {
					l.report(release.PhaseLock, release.MarkDone, "the lock is free")
				}
				return lock, err
			}
			// Another run was faster: read it again.
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return nil, heldBy(now, err)
			}
			continue
		}
		if opts.Wait == 0 && now.alive(last, l.now()) {
			return nil, heldBy(now, nil)
		}
		if !last.unchanged(now) {
			if last.lease.holder != now.holder {
				l.reportHolder(now, opts.Wait > 0)
			}
			last = observation{lease: now, at: time.Now()}
		}
		if err := pause(ctx, pollInterval(now.ttl)); err != nil {
			return nil, heldBy(now, err)
		}
	}
}

func (l *Ledger) reportHolder(now lease, wait bool) {
	if wait {
		l.report(release.PhaseLock, release.MarkStart, "waiting for %s, which holds the lock since %s", now.holder, now.acquired.Format(time.TimeOnly))
		return
	}
	l.report(release.PhaseLock, release.MarkStep, "%s holds the lock: waiting at most %s to see whether it renews", now.holder, now.ttl)
}

// takeAsViewed takes a lock that was free when it was viewed, and has not been
// written since; the lock is nil if it was held, or is another one now. A holder
// that was viewed may have written after that, so its lock is read again.
func (l *Ledger) takeAsViewed(ctx context.Context, opts LockOptions) (*Lock, error) {
	viewed := opts.View.lock
	if viewed.Version == "" || parseLease(viewed.Fields).holder != "" {
		return nil, nil
	}
	return l.take(ctx, viewed, &opts.View, opts)
}

// take writes the lease of this run; the lock is nil if another run was faster.
func (l *Ledger) take(ctx context.Context, stored StoredLock, view *View, opts LockOptions) (*Lock, error) {
	old := parseLease(stored.Fields)
	if stored.Version == "" {
		// Someone may have deleted the lock: its token must grow all the same.
		newest, err := l.newest(ctx, 0, 1)
		if err != nil {
			return nil, err
		}
		old.fence, old.newest = first(newest).record().Fence, first(newest).seq()
	}
	now := l.now()
	mine := lease{
		holder: opts.Holder, process: processID(newMarker()), ttl: opts.TTL, what: opts.What, order: opts.Order,
		acquired: now, renewed: now, fence: old.fence + 1, newest: old.newest,
	}
	if parseTicket(old.waiting).Holder != opts.Holder {
		mine.waiting = old.waiting
	}
	asked := sinceBoot()
	version, err := l.store.SwapLock(ctx, StoredLock{Fields: mine.fields(), Version: stored.Version})
	if err != nil || version == "" {
		removeMarker(mine.process)
	}
	if err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	if version == "" {
		return nil, nil
	}
	if old.holder != "" {
		removeMarker(old.process)
		l.report(release.PhaseLock, release.MarkNote, "took over the lock of %s, which is gone", old.holder)
	}
	k := &Lock{Holder: mine.holder, Fence: mine.fence, ledger: l, view: view, process: mine.process, ttl: mine.ttl, lease: mine, version: version}
	k.renewedAt.Store(int64(asked))
	k.startRenewing(ctx)
	return k, nil
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
