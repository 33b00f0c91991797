package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// activate switches the role's service to its release directory, which must have been
// prepared. It installs the unit, stops the old process, waits until the port is free,
// starts the new process, and waits until it is ready and stable. A service that runs
// as the role defines it is not restarted. A rollback is the same with an older release.
//
// others are the services of the release's other roles. If the role's port is in use by
// a service that shipit installed and that is none of them, that service is the role
// under an earlier name, and is stopped.
//
// Every step can be repeated. If a run is interrupted, the next activate, of this release
// or another, goes on from the state that it finds.
//
// Errors: *release.Failure if the service does not start, *machine.LostError. The Live is
// the last one observed.
func (r runner) activate(ctx context.Context, role release.Role, others ...string) (release.Live, error) {
	d, err := service.Define(role)
	if err != nil {
		return release.Live{}, err
	}
	if d.Found != nil {
		return r.putBackFound(ctx, d)
	}
	began := time.Now()
	s, err := attributed(ctx, func() (service.State, error) { return r.inspect(ctx, d) })
	if err != nil {
		return release.Live{}, err
	}
	if f := refusal(d, s, others); f != nil {
		return r.live(d, s), f
	}
	if s.RunsAsDefined(d) {
		s, err = r.adjust(ctx, d, s)
		r.report(d, release.PhaseWait, release.MarkDone, d.Service+" runs it already; nothing is restarted", time.Since(began))
		return r.live(d, s), err
	}
	r.report(d, release.PhaseApply, release.MarkStart, "switch "+d.Service+" on "+r.Name+" to "+release.ShortDigest(d.Digest), 0)
	s, err = r.replace(ctx, d, s, others)
	if err != nil {
		return r.live(d, s), fmt.Errorf("switch %s: %w", d.Service, err)
	}
	r.report(d, release.PhaseWait, release.MarkDone, fmt.Sprintf("%s runs as PID %d", d.Service, s.PID), time.Since(began))
	return r.live(d, s), nil
}

// attributed inspects a service until the process that listens on its port is known, for
// a second at most: a process that ends while it is looked for leaves its port in use for
// a moment, and would be taken for another user's.
func attributed(ctx context.Context, inspect func() (service.State, error)) (service.State, error) {
	for began := time.Now(); ; {
		s, err := inspect()
		if err != nil {
			return s, err
		}
		if other := s.Foreign(); other == nil || !other.Unseen() || time.Since(began) > time.Second {
			return s, nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return s, err
		}
	}
}

// adjust corrects what needs no restart: the link, and whether the service is enabled.
func (r runner) adjust(ctx context.Context, d service.Definition, s service.State) (service.State, error) {
	if s.Link != d.ReleaseDir() {
		if _, err := r.Change(ctx, write(d, "link"), machine.Script(linkScript, d.ReleaseDir(), d.Link())); err != nil {
			return s, err
		}
		s.Link = d.ReleaseDir()
	}
	if !s.Enabled {
		if _, err := r.Change(ctx, write(d, "enable"), r.manager(d).Enable(d)); err != nil {
			return s, err
		}
		s.Enabled = true
	}
	return s, nil
}

// refusal is a failure that is known before anything is changed; nil if there is none.
func refusal(d service.Definition, s service.State, others []string) error {
	if !s.Unpacked {
		return &release.Failure{
			Role: d.Role, Code: release.CodeNotPrepared, Object: d.Object(),
			Message: "its content is not at " + d.ReleaseDir(),
			Hint:    "it was pruned or removed by hand; run the release again, which unpacks it",
		}
	}
	if h := s.Foreign(); h != nil && s.Predecessor(others) == "" {
		return d.PortTaken(*h)
	}
	return nil
}

// replace installs the definition and restarts the service, whatever its state was.
func (r runner) replace(ctx context.Context, d service.Definition, was service.State, others []string) (service.State, error) {
	manager := r.manager(d)
	if _, err := r.Change(ctx, write(d, "install"), r.installing(d, was)); err != nil {
		return service.State{}, fmt.Errorf("install %s: %w", d.UnitFile(r.Home), err)
	}
	if err := r.Each(ctx, write(d, "reload"), manager.Reload(d)); err != nil {
		return service.State{}, err
	}
	if former := was.Predecessor(others); former != "" {
		r.report(d, release.PhaseApply, release.MarkNote, former+" is stopped: "+d.Service+" takes over its port", 0)
		// One that failed before is started again and again, and would take the port first.
		if _, err := r.Change(ctx, write(d, "stop"), manager.Stop(d)); err != nil {
			return service.State{}, err
		}
		if s, err := r.stop(ctx, d.WithService(former)); err != nil {
			return s, err
		}
	}
	s, err := r.stop(ctx, d)
	if err != nil {
		return s, err
	}
	if s.Replacement {
		if err := r.store(d).Repair(ctx, d.Digest); err != nil {
			return s, err
		}
	}
	if err := r.start(ctx, d, s); err != nil {
		return s, err
	}
	s, err = r.await(ctx, d)
	if err != nil {
		return s, err
	}
	return r.activated(ctx, d, s)
}

// activated records what the process is, and that the switch has ended.
func (r runner) activated(ctx context.Context, d service.Definition, s service.State) (service.State, error) {
	o, err := r.overrides(ctx, s)
	if err != nil {
		return s, err
	}
	s = s.Activated(d, len(o.Changes) == 0)
	cmd := machine.Script(activatedScript, d.ActivationFile(), d.Marker()).With(strings.NewReader(s.Activation()))
	_, err = r.Change(ctx, write(d, "note"), cmd)
	return s, err
}

// installing is the command that writes the unit and the link. was is the state of the
// service before.
func (r runner) installing(d service.Definition, was service.State) machine.Command {
	return machine.Script(installScript, d.UnitFile(r.Home), d.UnitCopy(), d.Marker(), d.ReleaseDir(), d.Link(), logDir(d), d.User,
		strconv.Itoa(len(d.Content)), before(was)).With(strings.NewReader(d.Content))
}

// before is whether a service was enabled and running before it was replaced, as remove
// reads it.
func before(s service.State) string {
	var words []string
	if s.Enabled {
		words = append(words, beforeEnabled)
	}
	if s.PID > 0 || s.Phase == service.PhaseRestarting {
		words = append(words, beforeUp)
	}
	return strings.Join(words, " ")
}

const (
	beforeEnabled = "enabled"
	beforeUp      = "up"
)

func logDir(d service.Definition) string {
	if len(d.Logs) == 0 {
		return ""
	}
	return path.Dir(d.Logs[0])
}

// start has the manager start the service. A start that the manager refuses is a
// *release.Failure with the manager's reason.
func (r runner) start(ctx context.Context, d service.Definition, s service.State) error {
	err := r.Each(ctx, write(d, "start"), r.manager(d).Start(d, s))
	var exit *machine.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	now, unread := r.inspect(ctx, d)
	if unread != nil {
		return errors.Join(err, unread)
	}
	f := r.failure(ctx, d, now)
	if now.Rejected {
		f.Code, f.Hint = release.CodeUnitRejected, "the rendered unit is wrong for this machine: `shipit render --role "+d.Role+"` shows it"
	}
	if f.Message == "" || now.Rejected {
		f.Message = machine.Excerpt(exit.Stderr)
	}
	return f
}
