package service

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
)

// Phase is what a service does, in one word for both managers.
type Phase string

const (
	PhaseAbsent     Phase = "absent"  // the manager does not know it
	PhaseStopped    Phase = "stopped" // known, not running, not failed
	PhaseStarting   Phase = "starting"
	PhaseRunning    Phase = "running" // has a main process
	PhaseStopping   Phase = "stopping"
	PhaseRestarting Phase = "restarting" // ended by itself, waits to be started again
	PhaseFailed     Phase = "failed"
)

// UnitFile is what the file of a service holds, compared with its definition.
type UnitFile string

const (
	UnitSame    UnitFile = "same"
	UnitDiffers UnitFile = "differs"
	UnitAbsent  UnitFile = "absent"
)

// State is what was read of a service and its folders at one moment.
type State struct {
	Phase      Phase
	Rejected   bool          // the manager cannot read the definition
	Cause      string        // why it is not up, in the manager's words
	PID        int           // of the main process; 0: there is none
	Cwd        string        // of the main process, as the kernel reports it
	Release    string        // SHIPIT_RELEASE of the main process
	Exit       *int          // exit code of the last process
	Signal     string        // that ended the last process
	Restarts   int           // by the manager, since it was started last
	Age        time.Duration // of the main process
	Since      time.Time     // when the main process began; zero: only its age is known
	Invocation string        // systemd's id of this start
	Enabled    bool          // starts with the machine
	NoLinger   string        // the user whose manager ends with the last login; empty: it does not
	DropIns    []string      // files that change the unit

	Unit        UnitFile
	Link        string // where the current link leads
	Unpacked    bool   // the release directory is there, with its lists
	Replacement bool   // content waits to replace a damaged release directory
	Installed   bool   // the copy of the unit that shipit keeps is there
	Switching   bool   // a switch began and did not end
	Listening   bool   // a process listens on the port

	main      process
	environ   map[string]string // of the main process; nil: it cannot be read
	manager   map[string]string // what the service manager gives every service
	envFile   *string           // text of the environment file; nil: it cannot be read
	account   account           // the user that the definition names
	activated activation
	outdated  bool   // the manager has not read the files as they are now
	shadow    string // the file that the manager reads in place of the definition's
	real      string // the release directory with links resolved; empty if it is not there
	listeners []Listener
}

const deletedMark = " (deleted)"

// Runs reports whether the main process was started from the definition's
// release directory, which is still there; or, of what ran before the first release,
// whether it works where it did.
func (s State) Runs(d Definition) bool {
	if d.Found != nil {
		return s.Phase == PhaseRunning && s.Cwd == d.Found.Folder
	}
	return s.Phase == PhaseRunning && s.PID > 0 && s.real != "" && within(s.Cwd, s.real) &&
		!strings.HasSuffix(s.Cwd, deletedMark) && s.Release == d.Digest
}

// RunsAsDefined reports whether nothing has to be restarted: what may be left to do
// is to set the link, and to enable the service.
func (s State) RunsAsDefined(d Definition) bool {
	return s.Runs(d) && s.Unit == UnitSame && !s.outdated && s.shadow == "" && !s.Switching && !s.Replacement &&
		s.Foreign() == nil && len(s.wrongProcess(d)) == 0
}

// LiveDigest is the release that the main process runs from: the digest that
// its directory is named for, or path:DIR for any other directory.
func (s State) LiveDigest(d Definition) string {
	if s.PID == 0 || s.Cwd == "" {
		return ""
	}
	// The release directory itself may be gone, but its parent has a real name.
	releases := path.Dir(d.ReleaseDir())
	if s.real != "" {
		releases = path.Dir(s.real)
	}
	if rest, found := strings.CutPrefix(s.Cwd, releases+"/"); found {
		name, _, _ := strings.Cut(strings.TrimSuffix(rest, deletedMark), "/")
		if content.IsDigest("sha256:" + name) {
			return "sha256:" + name
		}
	}
	return "path:" + s.Cwd
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// Notes says in words what is not as the definition has it; empty if all is.
func (s State) Notes(d Definition) string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if wrong := s.wrongDirectory(d); wrong != "" {
		add("%s", wrong)
	}
	for _, wrong := range s.wrongProcess(d) {
		add("%s", wrong)
	}
	switch s.Unit {
	case UnitDiffers:
		add("%s is not the one that was installed", d.File)
	case UnitAbsent:
		add("%s is gone", d.File)
	}
	if s.shadow != "" {
		add("the service manager reads %s in place of %s", s.shadow, d.File)
	}
	if s.Unit == UnitSame && s.outdated {
		add("the service manager has not read the unit or its drop-in files as they are now")
	}
	if s.Unit == UnitSame && !s.Enabled && s.Phase != PhaseAbsent {
		add("%s is disabled: it does not start with the machine", d.Service)
	}
	if s.NoLinger != "" {
		add("the user's service manager, and all that it runs, ends with the last login of %s", s.NoLinger)
	}
	if s.Unit == UnitSame && s.Link != d.ReleaseDir() {
		add("the link %s leads to %q, not to what is wanted", d.Link(), s.Link)
	}
	if s.Switching {
		add("a switch began and did not end")
	}
	if h := s.Foreign(); h != nil {
		add("%s", d.PortTaken(*h).Message)
	}
	return strings.Join(notes, "; ")
}
