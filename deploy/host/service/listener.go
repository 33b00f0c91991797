package service

import (
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// Listener is a process that listens on the role's port.
type Listener struct {
	pid     int    // 0: it may not be seen
	owned   bool   // the service manager started it for this service
	service string // another service that shipit has installed below this root, for which it was started
	command string
}

// Unseen reports whether the process is not known: this user may not see it, or it ended
// while it was looked for.
func (h Listener) Unseen() bool { return h.pid == 0 }

func (h Listener) String() string {
	if h.pid == 0 {
		return h.command
	}
	return fmt.Sprintf("PID %d (%s)", h.pid, h.command)
}

// PortTaken is the failure of a service whose port another process listens on.
func (d Definition) PortTaken(h Listener) *release.Failure {
	return &release.Failure{
		Role: d.Role, Code: release.CodePortTaken, Object: d.Object(),
		Message: fmt.Sprintf("port %d is in use by %s, which is not a process of %s", d.Port, h, d.Service),
		Hint:    "end that process; shipit kills only what the service manager started for the service",
	}
}

// Foreign is a process that listens on the port and is not one of the service; nil
// if there is none.
func (s State) Foreign() *Listener {
	for _, h := range s.listeners {
		if !h.owned {
			return &h
		}
	}
	if s.Listening && len(s.listeners) == 0 {
		return &Listener{command: "a process that this user may not see"}
	}
	return nil
}

// Listener is a process that listens on the port: a foreign one if there is one.
func (s State) Listener() Listener {
	if h := s.Foreign(); h != nil {
		return *h
	}
	return s.listeners[0]
}

// Predecessor is the service that the role had under an earlier name: it listens on the
// port, shipit has installed it below the same root, and it is none of others, the
// services of the release's other roles. Empty if there is none.
func (s State) Predecessor(others []string) string {
	h := s.Foreign()
	if h == nil || slices.Contains(others, h.service) {
		return ""
	}
	return h.service
}

// Serves reports whether a process of the service listens on the port.
func (s State) Serves() bool {
	for _, h := range s.listeners {
		if h.owned {
			return true
		}
	}
	return false
}
