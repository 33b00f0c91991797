package preflight

import (
	"sync"
	"time"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/release"
)

// snapshotTTL is how long what a preflight read is believed: after that another
// client may well have changed it.
const snapshotTTL = 5 * time.Second

// Snapshot is what a preflight read of each role, so that an apply need not read it
// again. A nil snapshot holds nothing.
type Snapshot struct {
	at     time.Time
	mu     sync.Mutex
	states map[string]apply.State // by role name
}

func newSnapshot(roles []*role, at time.Time) *Snapshot {
	s := &Snapshot{at: at, states: map[string]apply.State{}}
	for _, r := range roles {
		if state, err := r.state(); err == nil && state.Inventory.Members != nil {
			s.states[r.Name] = state
		}
	}
	return s
}

// State is what was read of this very role of this very release; false if nothing
// was, or if it is too old.
func (s *Snapshot) State(role release.Role) (apply.State, bool) {
	if s == nil || time.Since(s.at) > snapshotTTL {
		return apply.State{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := s.states[role.Name]
	had := state.Role.Objects
	if !ok || len(had) == 0 || len(had) != len(role.Objects) || &had[0] != &role.Objects[0] {
		return apply.State{}, false
	}
	return state, true
}

// Drop removes what was read of a role, because its objects are about to change.
func (s *Snapshot) Drop(role string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, role)
}
