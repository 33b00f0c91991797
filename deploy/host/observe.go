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

// observing are the options of observe; the zero value works.
type observing struct {
	whole    bool     // read all content; otherwise only if sizes, times or inodes have changed
	tree     treeOf   // of the role's image; needed for whole
	services []string // of the app on this machine: their processes are not copies of it
	bans     []service.Ban
}

// observation is what was read of a role.
type observation struct {
	release.Live
	installed bool // shipit has installed the service and not removed it
	pending   bool // a release of the role would change something on the machine
}

// observe reads what runs for the role: the release directory and environment of the
// main process, as the kernel reports them. The Note names every difference from the
// definition: a process in a foreign or deleted directory, a unit that was changed by
// hand, a link that leads elsewhere, another process on the port.
//
// For a service that failed, waits to be restarted, or was restarted within steadyAfter,
// the error is a *release.Failure with the exit code and the last log lines. Any other
// error means that the machine could not be read.
func (r runner) observe(ctx context.Context, role release.Role, with observing) (observation, error) {
	d, err := service.Define(role)
	if err != nil {
		return observation{}, err
	}
	if d.Found != nil {
		return r.observeFound(ctx, d, with.bans)
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
	copies, err := r.copies(ctx, d, s, with.services)
	if err != nil {
		return seen, err
	}
	origin, err := r.byHand(ctx, d, s, with.bans)
	if err != nil {
		return seen, err
	}
	seen.pending = seen.pending || content != ""
	seen.Note = join(slices.Concat([]string{seen.Note, content}, origin, o.Changes, copies))
	seen.Info = join(append(o.Limits, s.GivenByHand(d)))
	return r.steadiness(ctx, d, s, seen)
}

// steadiness adds whether the service has been restarted by its manager.
func (r runner) steadiness(ctx context.Context, d service.Definition, s service.State, seen observation) (observation, error) {
	again := ""
	if s.Restarts > 0 {
		again = fmt.Sprintf("was restarted %d times since it was started, last %s ago", s.Restarts, s.Age)
		s.Invocation = "" // the logs of all starts are shown, not that of the last one only
	}
	switch {
	case s.Phase == service.PhaseFailed || s.Phase == service.PhaseRestarting || s.Phase == service.PhaseStarting && s.Restarts > 0:
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
		_, err = r.verified(ctx, d, r.image(role), imageSource{role, with.tree})
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
		return "", nil // it was removed meanwhile: the note on the process says so
	case machine.IsExit(err):
		return "the content cannot be compared: " + machine.Excerpt(err.Error()), nil
	}
	return "", err
}

// live is the state as a release.Live.
func (r runner) live(d service.Definition, s service.State) release.Live {
	live := release.Live{Desired: 1, At: time.Now().UTC(), Note: s.Notes(d)}
	live.Folder, live.Since = s.Cwd, began(s, live.At)
	switch s.Unit {
	case service.UnitSame:
		live.Wanted = d.Digest
	case service.UnitDiffers:
		live.Wanted = "another unit"
	}
	if digest := s.LiveDigest(d); digest != "" && s.Phase == service.PhaseRunning {
		live.Digests, live.Ready = []string{digest}, 1
		if h := s.Foreign(); h != nil && !s.Serves() {
			live.Ready = 0
		}
	}
	return live
}

// began is when the main process of a service began. Where only its age is known, it is
// told to the minute, so that it is the same each time.
func began(s service.State, now time.Time) time.Time {
	if s.PID > 0 && s.Since.IsZero() {
		return now.Add(-s.Age).Truncate(time.Minute)
	}
	return s.Since
}

// join is the notes that are not empty, separated by semicolons.
func join(notes []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return s == "" }), "; ")
}
