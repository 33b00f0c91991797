package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// phase is what a service does, in one word for both managers.
type phase string

const (
	phaseAbsent     phase = "absent"     // the manager does not know it
	phaseDown       phase = "down"       // known, not running, not failed
	phaseComing     phase = "coming"     // on its way up
	phaseUp         phase = "up"         // has a main process
	phaseGoing      phase = "going"      // on its way down
	phaseRestarting phase = "restarting" // ended by itself, waits to be started again
	phaseFailed     phase = "failed"
)

// state is what was read of a service and its folders at one moment.
type state struct {
	phase      phase
	rejected   bool   // the manager cannot read the definition
	cause      string // why it is not up, in the manager's words
	pid        int    // main process; 0: none
	cwd        string // of the main process, as the kernel reports it
	env        string // its SHIPIT_RELEASE
	main       process
	environ    map[string]string // of the main process; nil: it cannot be read
	manager    map[string]string // what the service manager gives every service
	envFile    *string           // text of the environment file; nil: it cannot be read
	account    account           // the user that the definition names
	activated  activation
	exit       *int // of the last process
	signal     string
	restarts   int           // since it was started last
	age        time.Duration // of the main process
	invocation string        // systemd's id of this start
	enabled    bool          // starts with the machine
	mortal     string        // the user whose manager ends with the last login; empty: it does not
	reload     bool          // the manager has not read the files that are there
	shadow     string        // the file that the manager reads in place of the definition's
	dropIns    []string

	unit      string // same, differs or absent: the file against the definition
	link      string // where the current link leads
	real      string // the release directory with links resolved; empty if it is not there
	prepared  bool   // it has its lists
	repaired  bool   // content waits to replace it
	installed bool   // our copy of the unit is there
	switching bool   // a switch began and did not end
	listening bool   // someone listens on the port
	holders   []holder
}

// holder is a process that listens on the role's port.
type holder struct {
	pid     int
	owned   bool   // the service manager started it for this service
	service string // another service that shipit has installed below this root, for which it was started
	command string
}

func (h holder) String() string { return fmt.Sprintf("PID %d (%s)", h.pid, h.command) }

// supervisor is what differs between service managers: pure commands, and how
// their answers are read.
type supervisor interface {
	inspect(d definition, repaired string) command // its output is read by parse
	parse(out string) state
	reload(d definition) []command
	start(d definition, s state) []command
	enable(d definition) command
	stop(d definition) command
	kill(d definition) command
	forget(d definition) []command       // of a stopped service, before its file is removed
	log(d definition, s state) []command // the last one prints it
	check(d definition) command          // exits with 0 if the manager is there
}

// supervisor is the manager of the definition, on this machine.
func (m *machine) supervisor(d definition) supervisor {
	if d.Kind == "launchd" {
		return launchd{home: m.home}
	}
	return systemd{home: m.home}
}

// inspect reads the state; it changes nothing.
func (m *machine) inspect(ctx context.Context, d definition) (state, error) {
	sup := m.supervisor(d)
	res, err := m.read(ctx, sup.inspect(d, m.repaired(d)).with(strings.NewReader(d.Content)))
	if err != nil {
		return state{}, fmt.Errorf("inspect %s on %s: %w", d.Service, m.name, err)
	}
	return sup.parse(res.Stdout), nil
}

// foreign is a process that holds the port and is not the service's; nil if
// there is none.
func (s state) foreign() *holder {
	for _, h := range s.holders {
		if !h.owned {
			return &h
		}
	}
	if s.listening && len(s.holders) == 0 {
		return &holder{command: "a process that this user may not see"}
	}
	return nil
}

// holder is who holds the port: a foreign process before one of the service.
func (s state) holder() holder {
	if h := s.foreign(); h != nil {
		return *h
	}
	return s.holders[0]
}

// predecessor is a service that shipit has installed below the same root, that no
// other role of the release is, and that holds the port: what the role was called
// before. Empty if there is none.
func (s state) predecessor(others []string) string {
	h := s.foreign()
	if h == nil || slices.Contains(others, h.service) {
		return ""
	}
	return h.service
}

func serviceOf(unit string) string {
	if name, found := strings.CutSuffix(unit, ".service"); found {
		return name
	}
	return ""
}

func (s state) serves() bool {
	for _, h := range s.holders {
		if h.owned {
			return true
		}
	}
	return false
}

const deletedMark = " (deleted)"

// runs reports whether the main process was started from the definition's
// release directory, which is still there.
func (s state) runs(d definition) bool {
	return s.phase == phaseUp && s.pid > 0 && s.real != "" && within(s.cwd, s.real) &&
		!strings.HasSuffix(s.cwd, deletedMark) && s.env == d.Digest
}

// settled reports whether nothing has to be restarted: what may be left to do is
// to set the link, and to have the service start with the machine.
func (s state) settled(d definition) bool {
	return s.runs(d) && s.unit == "same" && !s.reload && s.shadow == "" && !s.switching && !s.repaired && s.foreign() == nil && len(s.wrongProcess(d)) == 0
}

// liveDigest is the release that the main process runs from: the digest that
// its directory is named for, or path:DIR for any other directory.
func (s state) liveDigest(d definition) string {
	if s.pid == 0 || s.cwd == "" {
		return ""
	}
	// The release directory itself may be gone, but its parent has a real name.
	releases := path.Dir(d.releaseDir())
	if s.real != "" {
		releases = path.Dir(s.real)
	}
	if rest, found := strings.CutPrefix(s.cwd, releases+"/"); found {
		name, _, _ := strings.Cut(strings.TrimSuffix(rest, deletedMark), "/")
		if isHex64(name) {
			return "sha256:" + name
		}
	}
	return "path:" + s.cwd
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// sharedFacts is the part of the inspection that both managers share: the unit
// file ($unit) against stdin, the link, the marker and the release directory.
const sharedFacts = `
if [ ! -e "$unit" ]; then echo UnitFile=absent; elif cmp -s - "$unit"; then echo UnitFile=same; else echo UnitFile=differs; fi
printf '%s\n' "Link=$(readlink "$link" 2>/dev/null)"
if [ -e "$marker" ]; then echo Switching=yes; fi
if [ -f "$dir/.shipit/manifest" ]; then echo Prepared=yes; fi
if [ -e "$kept" ]; then echo Installed=yes; fi
if [ -f "$repaired/.shipit/manifest" ]; then echo Repaired=yes; fi
printf '%s\n' "Real=$(cd "$dir" 2>/dev/null && pwd -P)"
if [ -r "$activated" ]; then grep '^Activated' "$activated"; fi
`

// fact takes one KEY=VALUE of the shared facts; it returns false for other keys.
func (s *state) fact(key, value string) bool {
	switch key {
	case "UnitFile":
		s.unit = value
	case "Link":
		s.link = value
	case "Switching":
		s.switching = true
	case "Prepared":
		s.prepared = true
	case "Installed":
		s.installed = true
	case "Repaired":
		s.repaired = true
	case "Real":
		s.real = value
	case "Age":
		s.age = time.Duration(number(value)) * time.Second
	case "Shadow":
		s.shadow = value
	case "Mortal":
		s.mortal = value
	case "Cwd":
		s.cwd = value
	case "Env":
		s.env = value
	case "Listening":
		s.listening = true
	case "Holder":
		// PID yes|no|SERVICE.service COMMAND
		parts := strings.SplitN(value, " ", 3)
		if len(parts) < 3 {
			return true
		}
		pid, err := strconv.Atoi(parts[0])
		if err == nil {
			s.holders = append(s.holders, holder{pid: pid, owned: parts[1] == "yes", service: serviceOf(parts[1]), command: shown(parts[2])})
		}
	default:
		return s.processFact(key, value)
	}
	return true
}

// number reads a decimal; anything else is 0.
func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return n
}
