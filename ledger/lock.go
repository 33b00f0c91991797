package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/joelhooks/shipit/release"
)

// LockOptions say how the lock is taken; the zero value works.
type LockOptions struct {
	Holder string        // default Holder()
	TTL    time.Duration // a holder unheard of for so long is gone; default 15s
	Wait   bool          // wait for a living holder to finish, as long as ctx allows
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

// claim is what the lock's fields say.
type claim struct {
	holder   string // "" when released
	process  string
	ttl      time.Duration
	acquired time.Time
	renewed  time.Time
	fence    int64 // grows with every holder
	head     int64 // the newest number given, as far as the lock has heard
}

const (
	defaultTTL = 15 * time.Second
	longestTTL = 10 * time.Minute // more than that in a lock is damage, not a wish
)

func (c claim) fields() map[string]string {
	return map[string]string{
		"holder": c.holder, "process": c.process, "ttl": c.ttl.String(),
		"acquired": c.acquired.UTC().Format(time.RFC3339Nano), "renewed": c.renewed.UTC().Format(time.RFC3339Nano),
		"fence": strconv.FormatInt(c.fence, 10), "head": strconv.FormatInt(c.head, 10),
	}
}

// readClaim takes what it can read: a damaged lock must not stop all releases.
func readClaim(fields map[string]string) claim {
	c := claim{holder: fields["holder"], process: fields["process"]}
	c.ttl, _ = time.ParseDuration(fields["ttl"])
	if c.ttl <= 0 || c.ttl > longestTTL {
		c.ttl = defaultTTL
	}
	c.acquired, _ = time.Parse(time.RFC3339Nano, fields["acquired"])
	c.renewed, _ = time.Parse(time.RFC3339Nano, fields["renewed"])
	c.fence, _ = strconv.ParseInt(fields["fence"], 10, 64)
	c.head, _ = strconv.ParseInt(fields["head"], 10, 64)
	return c
}

// sighting is a claim as it was first seen here, by this machine's own clock.
type sighting struct {
	claim claim
	at    time.Time
}

// same reports whether a claim was not renewed since.
func (s sighting) same(c claim) bool {
	return s.claim.holder == c.holder && s.claim.fence == c.fence && s.claim.renewed.Equal(c.renewed)
}

// Lock takes the app's lock and keeps it by a heartbeat until Release, also
// after ctx has ended. A *HeldError says that another living run holds it.
//
// After a Look the lock is taken as it was seen, if it was free.
//
// Clocks of different machines are not compared. A holder on this machine is
// known to live or to be dead by its process; any other must be seen to renew
// within its TTL, and is taken over if it does not.
func (l *Ledger) Lock(ctx context.Context, opts LockOptions) (*Lock, error) {
	if opts.Holder == "" {
		opts.Holder = Holder()
	}
	if opts.TTL <= 0 {
		opts.TTL = defaultTTL
	}
	// Of an earlier look only a free lock is believed: a holder may have written since.
	if seen := l.seen; seen != nil {
		l.seen = nil
		if claim := readClaim(seen.lock.Fields); seen.lock.Version != "" && claim.holder == "" {
			if lock, err := l.take(ctx, seen.lock.Version, claim, opts); lock != nil || err != nil {
				return lock.knowing(seen), err
			}
		}
	}
	var seen sighting
	for {
		at, err := l.store.ReadLock(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the lock: %w", err)
		}
		now := readClaim(at.Fields)
		if at.Version == "" || l.free(now, seen) {
			lock, err := l.take(ctx, at.Version, now, opts)
			if lock != nil || err != nil {
				return lock, err
			}
			// Another run was faster: look again.
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return nil, held(now, err)
			}
			continue
		}
		if !opts.Wait && l.lives(now, seen) {
			return nil, held(now, nil)
		}
		if !seen.same(now) {
			if seen.claim.holder != now.holder {
				l.reportHolder(now, opts.Wait)
			}
			seen = sighting{claim: now, at: time.Now()}
		}
		if err := pause(ctx, min(now.ttl/15, time.Second)); err != nil {
			return nil, held(now, err)
		}
	}
}

// free reports whether nobody can be behind a claim.
func (l *Ledger) free(c claim, seen sighting) bool {
	return c.holder == "" || judge(c.process) == dead ||
		!seen.at.IsZero() && seen.same(c) && time.Since(seen.at) >= c.ttl
}

// lives reports whether a holder is known to live: it has renewed before our
// eyes, or it is a process of this machine that renewed in time by our clock,
// which is then its clock too.
func (l *Ledger) lives(c claim, seen sighting) bool {
	if !seen.at.IsZero() && !seen.same(c) {
		return true
	}
	return judge(c.process) == alive && l.now().Before(c.renewed.Add(c.ttl))
}

func (l *Ledger) reportHolder(c claim, wait bool) {
	if wait {
		l.report(release.PhaseLock, release.MarkStep, "waiting for %s, which holds the lock since %s", c.holder, c.acquired.Format(time.TimeOnly))
		return
	}
	l.report(release.PhaseLock, release.MarkStep, "%s holds the lock: watching for at most %s whether it still lives", c.holder, c.ttl)
}

// take writes the claim of this run; the lock is nil if another run was faster.
func (l *Ledger) take(ctx context.Context, version string, old claim, opts LockOptions) (*Lock, error) {
	if version == "" {
		// Someone may have deleted the lock: its number must grow all the same.
		newest, err := l.newest(ctx, 0, 1)
		if err != nil {
			return nil, err
		}
		old.fence, old.head = first(newest).record().Fence, first(newest).seq()
	}
	now := l.now()
	mine := claim{
		holder: opts.Holder, process: process(), ttl: opts.TTL,
		acquired: now, renewed: now, fence: old.fence + 1, head: old.head,
	}
	version, err := l.store.SwapLock(ctx, StoredLock{Fields: mine.fields(), Version: version})
	if err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	if version == "" {
		return nil, nil
	}
	if old.holder != "" {
		l.report(release.PhaseLock, release.MarkNote, "took over the lock of %s, which is gone", old.holder)
	}
	return hold(ctx, l, mine, version), nil
}

func held(c claim, err error) *HeldError {
	return &HeldError{Holder: c.holder, Since: c.acquired, Expires: c.renewed.Add(c.ttl), Err: err}
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
