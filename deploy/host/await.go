package host

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

const (
	pollEvery  = 40 * time.Millisecond
	startLimit = 20 * time.Second
	// A process that has just been started may still change its directory, and a
	// port may still be held by the one before.
	settleTime = 600 * time.Millisecond
)

// await watches the started service until it is ready and has stayed up for its
// stable time. A process that ends, or runs from another directory, is a
// *release.Failure at once.
func (m *machine) await(ctx context.Context, d definition) (state, error) {
	first, err := m.ready(ctx, d)
	if err != nil {
		return first, err
	}
	return m.staysUp(ctx, d, first)
}

// ready waits until the service's own process listens on its port; without a
// port it is ready when it runs.
func (m *machine) ready(ctx context.Context, d definition) (state, error) {
	began := time.Now()
	var first state
	var since time.Time
	for {
		s, err := m.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		if first.pid == 0 && s.pid > 0 {
			first, since = s, time.Now()
		}
		settled := first.pid > 0 && time.Since(since) >= settleTime
		switch {
		case s.endedSince(first):
			return s, m.failure(ctx, d, s.of(first))
		case s.runs(d) && (d.Port == 0 || s.serves()):
			return s, nil
		case s.phase == phaseUp && settled && !s.runs(d):
			return s, foreignDirectory(d, s)
		case s.runs(d) && s.foreign() != nil && settled:
			return s, portTaken(d, *s.foreign())
		case s.runs(d) && time.Since(began) > m.o.Listen:
			return s, m.notServed(ctx, d, s, fmt.Sprintf("after %s", m.o.Listen))
		case !s.runs(d) && time.Since(began) > startLimit:
			f := m.failure(ctx, d, s)
			f.Message = fmt.Sprintf("no process after %s: %s", startLimit, s.phase)
			return s, f
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return s, err
		}
	}
}

// staysUp watches the service, which was ready as first, for its stable time. A
// process that ends in it would have been taken for good and be gone a moment
// later.
func (m *machine) staysUp(ctx context.Context, d definition, first state) (state, error) {
	const every = 150 * time.Millisecond
	began := time.Now()
	for {
		s, err := m.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		up := time.Since(began)
		switch {
		case s.endedSince(first):
			f := m.failure(ctx, d, s.of(first))
			f.Message += fmt.Sprintf(", %s after it was ready", up.Round(100*time.Millisecond))
			return s, f
		case up < d.stableTime():
		case !s.runs(d):
			return s, foreignDirectory(d, s)
		case d.Port > 0 && !s.serves():
			return s, m.notServed(ctx, d, s, "any more")
		default:
			return s, nil
		}
		if err := sleep(ctx, min(every, max(d.stableTime()-up, time.Millisecond))); err != nil {
			return s, err
		}
	}
}

// endedSince reports whether the process that was seen first has ended.
func (s state) endedSince(first state) bool {
	return s.phase == phaseFailed || s.phase == phaseRestarting || first.pid > 0 && (s.pid != first.pid || s.restarts > first.restarts)
}

// of is the state with the log of the start that was seen first: the one that ended.
func (s state) of(first state) state {
	s.invocation = cmp.Or(first.invocation, s.invocation)
	return s
}

func (m *machine) notServed(ctx context.Context, d definition, s state, when string) *release.Failure {
	f := m.failure(ctx, d, s)
	f.Code, f.Message = release.CodePortNotServed, fmt.Sprintf("PID %d does not listen on port %d %s", s.pid, d.Port, when)
	f.Hint = "its last lines may say why; is the role's port the one that the program listens on?"
	return f
}

// foreignDirectory is a service that came up, but not as it was told to.
func foreignDirectory(d definition, s state) *release.Failure {
	f := &release.Failure{
		Role: d.Role, Code: release.CodeForeignDirectory, Object: d.object(),
		Message: fmt.Sprintf("PID %d runs in %s with SHIPIT_RELEASE=%s, not in %s", s.pid, s.cwd, s.env, d.releaseDir()),
		Hint:    "the program changes its directory or drops its environment at start; shipit cannot tell what it runs",
	}
	if len(s.dropIns) > 0 {
		f.Hint = "drop-in files change the unit: " + strings.Join(s.dropIns, ", ") + "; `systemctl revert " + d.Service + "` removes them"
	}
	return f
}
