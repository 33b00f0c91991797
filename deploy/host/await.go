package host

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

const (
	pollEvery  = 40 * time.Millisecond
	startLimit = 20 * time.Second
	// A process that has just been started may still change its directory, and the
	// process before it may still hold the port.
	earlyTime = 600 * time.Millisecond
)

// await waits until the started service is ready and has then run for its stable time.
// A process that ends, or that runs from another directory, is a *release.Failure at
// once.
func (r runner) await(ctx context.Context, d service.Definition) (service.State, error) {
	first, err := r.ready(ctx, d)
	if err != nil {
		return first, err
	}
	return r.staysUp(ctx, d, first)
}

// ready waits until a process of the service listens on its port. A service without a
// port is ready when it runs.
func (r runner) ready(ctx context.Context, d service.Definition) (service.State, error) {
	began := time.Now()
	var first service.State
	var since time.Time
	for {
		s, err := r.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		if first.PID == 0 && s.PID > 0 {
			first, since = s, time.Now()
		}
		early := first.PID == 0 || time.Since(since) < r.early(d)
		switch {
		case ended(s, first):
			return s, r.failure(ctx, d, asStarted(s, first))
		case s.Runs(d) && (d.Port == 0 || s.Serves()):
			return s, nil
		case s.Phase == service.PhaseRunning && !early && !s.Runs(d):
			return s, foreignDirectory(d, s)
		case s.Runs(d) && s.Foreign() != nil && !early:
			return s, d.PortTaken(*s.Foreign())
		case s.Runs(d) && time.Since(began) > r.listen:
			return s, r.notServed(ctx, d, s, fmt.Sprintf("after %s", r.listen))
		case !s.Runs(d) && time.Since(began) > max(startLimit, r.early(d)):
			f := r.failure(ctx, d, s)
			f.Message = fmt.Sprintf("no process after %s: %s", max(startLimit, r.early(d)), s.Phase)
			return s, f
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return s, err
		}
	}
}

// early is how long a process may work in another directory than it is to: one that ran
// before the first release may be started by a script that has much to do.
func (r runner) early(d service.Definition) time.Duration {
	if d.Found != nil {
		return r.listen
	}
	return earlyTime
}

// staysUp watches the service for its stable time. first is its state when it was ready:
// a process that ends within the stable time would have been recorded as good.
func (r runner) staysUp(ctx context.Context, d service.Definition, first service.State) (service.State, error) {
	const every = 150 * time.Millisecond
	began := time.Now()
	for {
		s, err := r.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		up := time.Since(began)
		switch {
		case ended(s, first):
			f := r.failure(ctx, d, asStarted(s, first))
			f.Message += fmt.Sprintf(", %s after it was ready", up.Round(100*time.Millisecond))
			return s, f
		case up < d.StableTime():
		case !s.Runs(d):
			return s, foreignDirectory(d, s)
		case d.Port > 0 && !s.Serves():
			return s, r.notServed(ctx, d, s, "any more")
		default:
			return s, nil
		}
		if err := sleep(ctx, min(every, max(d.StableTime()-up, time.Millisecond))); err != nil {
			return s, err
		}
	}
}

// ended reports whether the main process of first has ended.
func ended(s, first service.State) bool {
	return s.Phase == service.PhaseFailed || s.Phase == service.PhaseRestarting || first.PID > 0 && (s.PID != first.PID || s.Restarts > first.Restarts)
}

// asStarted is the state s with the systemd invocation of first, whose log tells why
// that process ended.
func asStarted(s, first service.State) service.State {
	s.Invocation = cmp.Or(first.Invocation, s.Invocation)
	return s
}

func (r runner) notServed(ctx context.Context, d service.Definition, s service.State, when string) *release.Failure {
	f := r.failure(ctx, d, s)
	f.Code, f.Message = release.CodePortNotServed, fmt.Sprintf("PID %d does not listen on port %d %s", s.PID, d.Port, when)
	f.Hint = "its last log lines may say why; is the role's port the one that the program listens on?"
	return f
}

// foreignDirectory is the failure of a service that runs from another directory than
// its definition names.
func foreignDirectory(d service.Definition, s service.State) *release.Failure {
	f := &release.Failure{
		Role: d.Role, Code: release.CodeForeignDirectory, Object: d.Object(),
		Message: fmt.Sprintf("PID %d runs in %s with SHIPIT_RELEASE=%s, not in %s", s.PID, s.Cwd, s.Release, d.ReleaseDir()),
		Hint:    "the program changes its directory or drops its environment at start; shipit cannot tell what it runs",
	}
	if len(s.DropIns) > 0 {
		f.Hint = "drop-in files change the unit: " + strings.Join(s.DropIns, ", ") + "; `systemctl revert " + d.Service + "` removes them"
	}
	return f
}

// sleep waits for d, or returns why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
