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

// activate makes the role's service run from its release directory, which prepare
// has put there: the unit is replaced, the old process stopped, the port seen to
// be free, the new process started and watched until it stands. What runs
// already, from the same directory and by the same unit, is left alone. An older
// release is switched to in the same way; its directory needs no prepare, but
// only prepare reads it back. others are the services of the release's other roles:
// what holds the port as none of them, but as a service of shipit's below the same
// root, is what the role was called before, and is stopped for it.
//
// Every step can be repeated: after a run that was cut off, the next activate, to
// this release or another, goes on from what it finds.
//
// Errors: *release.Failure if the service cannot come up, *machine.LostError. The Live
// is what was seen last.
func (r runner) activate(ctx context.Context, role release.Role, others ...string) (release.Live, error) {
	d, err := service.Define(role)
	if err != nil {
		return release.Live{}, err
	}
	began := time.Now()
	s, err := r.inspect(ctx, d)
	if err != nil {
		return release.Live{}, err
	}
	if f := refusedNow(d, s, others); f != nil {
		return r.live(d, s), f
	}
	if s.RunsAsDefined(d) {
		s, err = r.tidy(ctx, d, s)
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

// tidy sets right what needs no restart: the link, and that the service starts
// with the machine.
func (r runner) tidy(ctx context.Context, d service.Definition, s service.State) (service.State, error) {
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

// refusedNow is why a switch must not even begin: nothing has been changed.
func refusedNow(d service.Definition, s service.State, others []string) error {
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

// replace carries the service from whatever it was to the definition.
func (r runner) replace(ctx context.Context, d service.Definition, was service.State, others []string) (service.State, error) {
	manager := r.manager(d)
	if _, err := r.Change(ctx, write(d, "install"), r.installing(d, was)); err != nil {
		return service.State{}, fmt.Errorf("install %s: %w", d.UnitFile(r.Home), err)
	}
	if err := r.Each(ctx, write(d, "reload"), manager.Reload(d)); err != nil {
		return service.State{}, err
	}
	if former := was.Predecessor(others); former != "" {
		r.report(d, release.PhaseApply, release.MarkNote, former+" gives the port up to "+d.Service, 0)
		if s, err := r.stop(ctx, d.Named(former)); err != nil {
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

// activated notes what the process is and ends the switch.
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

// installing is the command that puts the unit and the link in place. was tells
// what the service did before.
func (r runner) installing(d service.Definition, was service.State) machine.Command {
	return machine.Script(installScript, d.UnitFile(r.Home), d.Kept(), d.Marker(), d.ReleaseDir(), d.Link(), logDir(d), d.User,
		strconv.Itoa(len(d.Content)), before(was)).With(strings.NewReader(d.Content))
}

// before is what a service did that is about to be replaced, in words for remove.
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

// start tells the manager to start the service. What the manager refuses is a
// *release.Failure with its reason.
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
