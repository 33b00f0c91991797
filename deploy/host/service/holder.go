package service

import (
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// Holder is a process that listens on the role's port.
type Holder struct {
	pid     int    // 0: it may not be seen
	owned   bool   // the service manager started it for this service
	service string // another service that shipit has installed below this root, for which it was started
	command string
}

func (h Holder) String() string {
	if h.pid == 0 {
		return h.command
	}
	return fmt.Sprintf("PID %d (%s)", h.pid, h.command)
}

// PortTaken is the failure of a service whose port the holder listens on.
func (d Definition) PortTaken(h Holder) *release.Failure {
	return &release.Failure{
		Role: d.Role, Code: release.CodePortTaken, Object: d.Object(),
		Message: fmt.Sprintf("port %d is held by %s, which is not of %s", d.Port, h, d.Service),
		Hint:    "end that process; shipit kills only what the service manager started for the service",
	}
}

// Foreign is a process that holds the port and is not the service's; nil if
// there is none.
func (s State) Foreign() *Holder {
	for _, h := range s.holders {
		if !h.owned {
			return &h
		}
	}
	if s.Listening && len(s.holders) == 0 {
		return &Holder{command: "a process that this user may not see"}
	}
	return nil
}

// Holder is who holds the port: a foreign process before one of the service.
func (s State) Holder() Holder {
	if h := s.Foreign(); h != nil {
		return *h
	}
	return s.holders[0]
}

// Predecessor is a service that shipit has installed below the same root, that no
// other role of the release is, and that holds the port: what the role was called
// before. Empty if there is none.
func (s State) Predecessor(others []string) string {
	h := s.Foreign()
	if h == nil || slices.Contains(others, h.service) {
		return ""
	}
	return h.service
}

// Serves reports whether a process of the service listens on the port.
func (s State) Serves() bool {
	for _, h := range s.holders {
		if h.owned {
			return true
		}
	}
	return false
}
