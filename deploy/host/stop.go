package host

import (
	"context"
	"fmt"
	"time"

	"github.com/joelhooks/shipit/release"
)

// Beyond the time that a service has to stop: for the manager to notice, for a
// killed process to be gone, and for a port to be let go.
const (
	stopSlack = time.Second
	killSlack = 5 * time.Second
	freeLimit = 3 * time.Second
)

// stop ends the service's processes: SIGTERM by the manager, after the service's
// own time SIGKILL to what the manager started for it. Then the port must be
// free: whoever still holds it is named, and left alone.
func (m *machine) stop(ctx context.Context, d definition) (state, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	killAt := time.Now().Add(d.stopTimeout() + stopSlack)
	stopped := make(chan error, 1)
	go func() {
		_, err := m.change(ctx, d.write("stop"), m.supervisor(d).stop(d))
		stopped <- err
	}()
	limit := time.NewTimer(time.Until(killAt))
	defer limit.Stop()
	select {
	case err := <-stopped:
		if err != nil {
			return state{}, err
		}
	case <-limit.C:
	}
	return m.gone(ctx, d, killAt)
}

// gone waits until the service has no process and the port no listener. At
// killAt a service that is still there is killed.
func (m *machine) gone(ctx context.Context, d definition, killAt time.Time) (state, error) {
	began, killed := time.Now(), false
	for {
		s, err := m.inspect(ctx, d)
		if err != nil {
			return s, err
		}
		running := s.pid > 0 || s.phase == phaseGoing
		switch {
		case !running && !s.listening:
			return s, nil
		case running && killed && time.Since(killAt) > killSlack:
			return s, stopTimeout(d, s)
		case running && !killed && !time.Now().Before(killAt):
			killed = true
			m.say(d, release.PhaseApply, release.MarkNote, d.Service+" ignores SIGTERM and is killed", 0)
			if _, err := m.change(ctx, d.write("kill"), m.supervisor(d).kill(d)); err != nil {
				return s, err
			}
		case !running && time.Since(began) > freeLimit:
			return s, portTaken(d, s.holder())
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return s, err
		}
	}
}

func stopTimeout(d definition, s state) *release.Failure {
	return &release.Failure{
		Role: d.Role, Code: release.CodeStopTimeout, Object: d.object(),
		Message: fmt.Sprintf("PID %d is still there after SIGKILL", s.pid),
		Hint:    "a process that waits for a disk or a network file system cannot be killed: see `ps -o stat,wchan -p PID`",
	}
}
