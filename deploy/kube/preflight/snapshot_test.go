package preflight

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/kube/apply"
	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

func TestSnapshot(t *testing.T) {
	of := func(object string) release.Role {
		return release.Role{Name: "web", Objects: []json.RawMessage{json.RawMessage(object)}}
	}
	v1, v2 := of(`{"a":1}`), of(`{"a":2}`)
	read := apply.State{Role: v1, Inventory: apply.Inventory{Members: map[object.ID]apply.Member{}}}
	taken := func(at time.Time) *Snapshot {
		r := &role{Role: Role{Role: v1}, state: func() (apply.State, error) { return read, nil }}
		return newSnapshot([]*role{r}, at)
	}
	known := func(s *Snapshot, role release.Role) bool {
		_, known := s.State(role)
		return known
	}
	s := taken(time.Now())
	require.True(t, known(s, v1))
	require.False(t, known(s, v2), "it says nothing of another release's role of that name")
	require.False(t, known(taken(time.Now().Add(-2*snapshotTTL)), v1), "it is good for a moment only")
	require.False(t, known(nil, v1))
	s.Drop("web")
	require.False(t, known(s, v1), "its objects are about to change")
	read.Inventory.Members = nil
	require.False(t, known(taken(time.Now()), v1), "it could not be read")
}
