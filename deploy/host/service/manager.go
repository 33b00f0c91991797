package service

import (
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
)

// Manager is what differs between service managers: their commands, and how their
// answers are read.
type Manager interface {
	// Inspect is a command that reads the service; Parse reads what it prints. Its
	// input is the definition's Content. replacement is the content that is to
	// replace a damaged release directory, see content.Store.
	Inspect(d Definition, replacement string) machine.Command
	Parse(printed string) State
	Reload(d Definition) []machine.Command
	Start(d Definition, s State) []machine.Command
	Enable(d Definition) machine.Command
	Stop(d Definition) machine.Command
	Kill(d Definition) machine.Command
	Disable(d Definition) []machine.Command      // of a stopped service, before its file is removed
	Log(d Definition, s State) []machine.Command // the last one prints it
	Check(d Definition) machine.Command          // ends with 0 if the manager is there
}

// ManagerOf is the manager of the definition, for a user whose home is home.
func ManagerOf(d Definition, home string) Manager {
	if d.Kind == "launchd" {
		return launchd{home: home}
	}
	return systemd{home: home}
}

// sharedFacts is the part of Inspect that both managers share: the unit file ($unit)
// against stdin, the link, the marker and the release directory.
const sharedFacts = `
if [ ! -e "$unit" ]; then echo UnitFile=absent; elif cmp -s - "$unit"; then echo UnitFile=same; else echo UnitFile=differs; fi
printf '%s\n' "Link=$(readlink "$link" 2>/dev/null)"
if [ -e "$marker" ]; then echo Switching=yes; fi
if [ -f "$dir/` + content.Manifest + `" ]; then echo Unpacked=yes; fi
if [ -e "$copy" ]; then echo Installed=yes; fi
if [ -f "$replacement/` + content.Manifest + `" ]; then echo Replacement=yes; fi
printf '%s\n' "Real=$(cd "$dir" 2>/dev/null && pwd -P)"
if [ -r "$activated" ]; then grep '^Activated' "$activated"; fi
`

// fact takes one KEY=VALUE of the shared facts; it returns false for other keys.
func (s *State) fact(key, value string) bool {
	switch key {
	case "UnitFile":
		s.Unit = UnitFile(value)
	case "Link":
		s.Link = value
	case "Switching":
		s.Switching = true
	case "Unpacked":
		s.Unpacked = true
	case "Installed":
		s.Installed = true
	case "Replacement":
		s.Replacement = true
	case "Real":
		s.real = value
	case "Age":
		s.Age = time.Duration(number(value)) * time.Second
	case "Since":
		if at := number(value); at > 0 {
			s.Since = time.Unix(int64(at), 0).UTC()
		}
	case "Shadow":
		s.shadow = value
	case "NoLinger":
		s.NoLinger = value
	case "Cwd":
		s.Cwd = value
	case "Env":
		s.Release = value
	case "Listening":
		s.Listening = true
	case "Listener":
		// PID yes|no|SERVICE.service COMMAND
		parts := strings.SplitN(value, " ", 3)
		if len(parts) < 3 {
			return true
		}
		pid, err := strconv.Atoi(parts[0])
		if err == nil {
			of := ""
			if name, found := strings.CutSuffix(parts[1], ".service"); found {
				of = name
			}
			s.listeners = append(s.listeners, Listener{pid: pid, owned: parts[1] == "yes", service: of, command: shown(parts[2])})
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
