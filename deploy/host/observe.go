package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

// observing says how a role is read; the zero value works.
type observing struct {
	whole    bool     // content is read byte by byte, where it is else told by what the kernel keeps of it
	layers   layersOf // of the role's image; needed for whole
	services []string // of the app on this machine: their processes are no copies
}

// observation is what was read of a role.
type observation struct {
	release.Live
	installed bool // shipit has installed the service, and has not taken it away
	pending   bool // a release of the role would change something here
}

// observe reads what runs for the role: the release directory and environment
// of the main process as the kernel reports them. The Note names what does not
// belong: a directory that is foreign or deleted, a unit that was changed by
// hand, a link that leads elsewhere, a foreign process on the port.
//
// A service that failed, is being restarted, or was restarted a short while ago
// is a *release.Failure beside the observation, with its exit code and last log
// lines. Any other error means that the machine could not be asked.
func (r runner) observe(ctx context.Context, role release.Role, with observing) (observation, error) {
	d, err := service.Define(role)
	if err != nil {
		return observation{}, err
	}
	s, err := r.inspect(ctx, d)
	if err != nil {
		return observation{}, err
	}
	seen := observation{
		Live: r.live(d, s), installed: s.Installed,
		pending: !s.RunsAsDefined(d) || s.Link != d.ReleaseDir() || !s.Enabled,
	}
	o, err := r.overrides(ctx, s)
	if err != nil {
		return seen, err
	}
	content := ""
	if s.Unpacked {
		if content, err = r.contentNote(ctx, d, role, with); err != nil {
			return seen, err
		}
	}
	copies, err := r.Read(ctx, service.FindCopies(d))
	if err != nil {
		return seen, fmt.Errorf("look for copies of %s on %s: %w", d.Service, r.Name, err)
	}
	seen.pending = seen.pending || content != ""
	seen.Note = join(slices.Concat([]string{seen.Note, content}, o.Changes, service.ParseCopies(copies.Stdout, d, s, with.services)))
	seen.Info = join(append(o.Limits, s.GivenByHand(d)))
	return r.steadiness(ctx, d, s, seen)
}

// steadiness adds whether the service stays up.
func (r runner) steadiness(ctx context.Context, d service.Definition, s service.State, seen observation) (observation, error) {
	again := ""
	if s.Restarts > 0 {
		again = fmt.Sprintf("was restarted %d times since it was started, last %s ago", s.Restarts, s.Age)
		s.Invocation = "" // the log of the starts before tells more than that of the last one
	}
	switch {
	case s.Phase == service.PhaseFailed || s.Phase == service.PhaseRestarting || s.Phase == service.PhaseComing && s.Restarts > 0:
		f := r.failure(ctx, d, s)
		seen.Unsteady = f.Message
		return seen, f
	case again != "" && s.Age < steadyAfter:
		f := r.failure(ctx, d, s)
		f.Message, seen.Unsteady = again, again
		return seen, f
	}
	seen.Info = join([]string{seen.Info, again})
	return seen, nil
}

// steadyAfter is how long a service that was restarted must stay up to be good
// again: after so long a kubelet forgets the restarts of a container as well.
const steadyAfter = 10 * time.Minute

// contentNote says what is wrong with the release directory; empty if nothing is.
func (r runner) contentNote(ctx context.Context, d service.Definition, role release.Role, with observing) (string, error) {
	var err error
	if with.whole {
		_, err = r.verified(ctx, d, r.image(role), imageSource{role, with.layers})
	} else {
		err = r.store(d).Verify(ctx, r.image(role), false)
	}
	var damaged *content.DamagedError
	var mounted *content.MountedError
	if errors.As(err, &damaged) || errors.As(err, &mounted) {
		return err.Error(), nil
	}
	switch {
	case errors.Is(err, content.ErrAbsent):
		return "", nil // it went away meanwhile: its process tells
	case machine.IsExit(err):
		return "the content cannot be compared: " + machine.Excerpt(err.Error()), nil
	}
	return "", err
}

// live is the state as release sees it.
func (r runner) live(d service.Definition, s service.State) release.Live {
	live := release.Live{Desired: 1, At: time.Now().UTC(), Note: s.Notes(d)}
	switch s.Unit {
	case service.UnitSame:
		live.Wanted = d.Digest
	case service.UnitDiffers:
		live.Wanted = "another unit"
	}
	if digest := s.LiveDigest(d); digest != "" && s.Phase == service.PhaseUp {
		live.Digests, live.Ready = []string{digest}, 1
		if h := s.Foreign(); h != nil && !s.Serves() {
			live.Ready = 0
		}
	}
	return live
}

// join puts what is not empty behind one another.
func join(notes []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return s == "" }), "; ")
}
