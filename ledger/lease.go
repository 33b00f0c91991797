package ledger

import (
	"strconv"
	"time"
)

// lease is what the lock's fields say.
type lease struct {
	holder   string // "" when it was released
	process  string // of the holder, as processID gives it
	ttl      time.Duration
	acquired time.Time // by the holder's clock
	renewed  time.Time // by the holder's clock
	fence    int64     // fencing token: grows with every holder
	newest   int64     // the newest sequence number that was given when the lease was written last
	what     string    // what the holder releases, such as a commit; "" if that is nobody's business
	order    int64     // of what it releases; 0: none
	waiting  string    // the ticket of the run that waits; "" if none does
}

const (
	defaultTTL = 15 * time.Second
	longestTTL = 10 * time.Minute // more than that in a lock is damage, not a wish
)

// renewInterval is how often a holder renews its lease: three times a TTL.
func renewInterval(ttl time.Duration) time.Duration { return ttl / 3 }

// retryInterval is how soon a renewal that failed is tried again.
func retryInterval(ttl time.Duration) time.Duration { return ttl / 20 }

// certainFor is how long after a renewal the holder counts on its lease. It is
// less than the TTL, so that what was begun can stop before another run takes over.
func certainFor(ttl time.Duration) time.Duration { return ttl - ttl/6 }

// pollInterval is how often one who waits for the lock reads it.
func pollInterval(ttl time.Duration) time.Duration { return min(ttl/15, time.Second) }

func (l lease) fields() map[string]string {
	return map[string]string{
		"holder": l.holder, "process": l.process, "ttl": l.ttl.String(),
		"acquired": l.acquired.UTC().Format(time.RFC3339Nano), "renewed": l.renewed.UTC().Format(time.RFC3339Nano),
		"fence": strconv.FormatInt(l.fence, 10), "head": strconv.FormatInt(l.newest, 10),
		"what": l.what, "order": strconv.FormatInt(l.order, 10), "waiting": l.waiting,
	}
}

// parseLease reads what it can: a damaged lock must not stop all releases.
func parseLease(fields map[string]string) lease {
	l := lease{holder: fields["holder"], process: fields["process"], what: fields["what"], waiting: fields["waiting"]}
	l.ttl, _ = time.ParseDuration(fields["ttl"])
	if l.ttl <= 0 || l.ttl > longestTTL {
		l.ttl = defaultTTL
	}
	l.acquired, _ = time.Parse(time.RFC3339Nano, fields["acquired"])
	l.renewed, _ = time.Parse(time.RFC3339Nano, fields["renewed"])
	l.fence, _ = strconv.ParseInt(fields["fence"], 10, 64)
	l.order, _ = strconv.ParseInt(fields["order"], 10, 64)
	l.newest, _ = strconv.ParseInt(fields["head"], 10, 64)
	return l
}

// observation is a lease as it was first read here, by this machine's own clock.
type observation struct {
	lease lease
	at    time.Time
}

// unchanged reports whether the lease was not renewed since it was first read.
func (o observation) unchanged(l lease) bool {
	return !o.at.IsZero() && o.lease.holder == l.holder && o.lease.fence == l.fence && o.lease.renewed.Equal(l.renewed)
}

// changed reports whether the lease was renewed since it was first read.
func (o observation) changed(l lease) bool { return !o.at.IsZero() && !o.unchanged(l) }

// free reports whether nobody can be behind a lease any more.
func (l lease) free(last observation) bool {
	return l.holder == "" || processState(l.process) == dead || last.unchanged(l) && time.Since(last.at) >= l.ttl
}

// alive reports whether the holder is known to be alive: it has renewed since it
// was first read, or it is a process of this machine that renewed in time by our
// clock, which is then its clock too.
func (l lease) alive(last observation, now time.Time) bool {
	return last.changed(l) || processState(l.process) == alive && now.Before(l.renewed.Add(l.ttl))
}
