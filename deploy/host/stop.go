package host

import (
	"context"
	"fmt"
	"time"

	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// Limits beyond the stop timeout of a service: for the manager to act on it, for a killed
// process to end, and for the port to become free.
const (
	stopSlack = time.Second
	killSlack = 5 * time.Second
	freeLimit = 3 * time.Second
)

// stop has the manager stop the service; after the service's stop timeout, what the manager
// started for it gets SIGKILL. Then the port must become free: another process that
// listens there is named in the failure, and not stopped.
func (r runner) stop(ctx context.Context, d service.Definition) (service.State, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	killAt := began.Add(d.StopTimeout() + stopSlack)
	stopped := make(chan error, 1)
	go func() {
		cmd := r.manager(d).Stop(d)
		cmd.Limit = d.StopTimeout() + time.Minute
		_, err := r.Change(ctx, write(d, "stop"), cmd)
		stopped <- err
	}()
	limit := time.NewTimer(time.Until(killAt))
	defer limit.Stop()
	select {
	case err := <-stopped:
		if err != nil {
			return service.State{}, err
		}
		if took := time.Since(began); d.StopTimeout() > 0 && took >= d.StopTimeout() {
			// The manager has killed it: its definition gives it no longer.
			r.report(d, release.PhaseApply, release.MarkNote, fmt.Sprintf("%s did not end within %s of SIGTERM and was killed", d.Service, d.StopTimeout()), took)
		}
	case <-limit.C:
	}
	return r.gone(ctx, d, killAt)
}

// gone waits until the service has no process and the port no listener. At
// killAt a service that is still there is killed.
func (r runner) gone(ctx context.Context, d service.Definition, killAt time.Time) (service.State, error) {
	began, killed := time.Now(), false
	for {
		s, err := r.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		running := s.PID > 0 || s.Phase == service.PhaseStopping
		switch {
		case !running && !s.Listening:
			return s, nil
		case running && killed && time.Since(killAt) > killSlack:
			return s, stopTimeout(d, s)
		case running && !killed && !time.Now().Before(killAt):
			killed = true
			r.report(d, release.PhaseApply, release.MarkNote, d.Service+" ignores SIGTERM and is killed", 0)
			if _, err := r.Change(ctx, write(d, "kill"), r.manager(d).Kill(d)); err != nil {
				return s, err
			}
		case !running && time.Since(began) > freeLimit:
			return s, d.PortTaken(s.Listener())
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return s, err
		}
	}
}

func stopTimeout(d service.Definition, s service.State) *release.Failure {
	return &release.Failure{
		Role: d.Role, Code: release.CodeStopTimeout, Object: d.Object(),
		Message: fmt.Sprintf("PID %d is still there after SIGKILL", s.PID),
		Hint:    "a process that waits for a disk or a network file system cannot be killed: see `ps -o stat,wchan -p PID`",
	}
}
