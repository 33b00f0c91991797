package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

// observing says how a role is read; the zero value works.
type observing struct {
	whole    bool     // content is read byte by byte, where it is else told by what the kernel keeps of it
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
func (m *machine) observe(ctx context.Context, role release.Role, with observing) (observation, error) {
	d, err := define(role)
	if err != nil {
		return observation{}, err
	}
	s, err := m.inspect(ctx, d)
	if err != nil {
		return observation{}, err
	}
	seen := observation{Live: m.live(d, s), installed: s.installed, pending: !s.settled(d) || s.link != d.releaseDir() || !s.enabled}
	o, err := m.overrides(ctx, s)
	if err != nil {
		return seen, err
	}
	content, err := m.contentNote(ctx, d, s, with.whole)
	if err != nil {
		return seen, err
	}
	copies, err := m.copies(ctx, d, s, with.services)
	if err != nil {
		return seen, err
	}
	seen.pending = seen.pending || content != ""
	seen.Note = join(slices.Concat([]string{seen.Note, content}, o.changes, copies))
	seen.Info = join(append(o.limits, s.givenByHand(d)))
	return m.steadiness(ctx, d, s, seen)
}

// steadiness adds whether the service stays up.
func (m *machine) steadiness(ctx context.Context, d definition, s state, seen observation) (observation, error) {
	again := ""
	if s.restarts > 0 {
		again = fmt.Sprintf("was restarted %d times since it was started, last %s ago", s.restarts, s.age)
		s.invocation = "" // the log of the starts before tells more than that of the last one
	}
	switch {
	case s.phase == phaseFailed || s.phase == phaseRestarting || s.phase == phaseComing && s.restarts > 0:
		f := m.failure(ctx, d, s)
		seen.Unsteady = f.Message
		return seen, f
	case again != "" && s.age < steadyAfter:
		f := m.failure(ctx, d, s)
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
func (m *machine) contentNote(ctx context.Context, d definition, s state, whole bool) (string, error) {
	if !s.prepared {
		return "", nil
	}
	compare := m.quickVerify
	if whole {
		compare = m.verify
	}
	err := compare(ctx, d.releaseDir())
	var damaged *damagedError
	var mounted *mountedError
	if errors.As(err, &damaged) || errors.As(err, &mounted) {
		return err.Error(), nil
	}
	switch {
	case errors.Is(err, errAbsent):
		return "", nil // it went away meanwhile: its process tells
	case isExit(err):
		return "the content cannot be compared: " + oneLine(err.Error()), nil
	}
	return "", err
}

// live is the state as release sees it.
func (m *machine) live(d definition, s state) release.Live {
	live := release.Live{Desired: 1, At: time.Now().UTC(), Note: s.notes(d)}
	switch s.unit {
	case "same":
		live.Wanted = d.Digest
	case "differs":
		live.Wanted = "another unit"
	}
	if digest := s.liveDigest(d); digest != "" && s.phase == phaseUp {
		live.Digests, live.Ready = []string{digest}, 1
		if h := s.foreign(); h != nil && !s.serves() {
			live.Ready = 0
		}
	}
	return live
}

// notes says in words what is not as the definition has it; empty if all is.
func (s state) notes(d definition) string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if wrong := s.wrongDirectory(d); wrong != "" {
		add("%s", wrong)
	}
	for _, wrong := range s.wrongProcess(d) {
		add("%s", wrong)
	}
	switch s.unit {
	case "differs":
		add("%s is not the one that was installed", d.File)
	case "absent":
		add("%s is gone", d.File)
	}
	if s.shadow != "" {
		add("the service manager reads %s in place of %s", s.shadow, d.File)
	}
	if s.unit == "same" && s.reload {
		add("the service manager has not read the unit or its drop-in files as they are now")
	}
	if s.unit == "same" && !s.enabled && s.phase != phaseAbsent {
		add("%s is disabled: it does not start with the machine", d.Service)
	}
	if s.mortal != "" {
		add("the user's service manager, and all that it runs, ends with the last login of %s", s.mortal)
	}
	if s.unit == "same" && s.link != d.releaseDir() {
		add("the link %s leads to %q, not to what is wanted", d.link(), s.link)
	}
	if s.switching {
		add("a switch began and did not end")
	}
	if h := s.foreign(); h != nil {
		add("%s", portTaken(d, *h).Message)
	}
	return strings.Join(notes, "; ")
}

// join puts what is not empty behind one another.
func join(notes []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return s == "" }), "; ")
}
