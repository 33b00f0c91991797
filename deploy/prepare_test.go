package deploy_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestRolesArePreparedAtOnceAndSwitchedInOrder(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := newApp(t, roles...)
	var here sync.WaitGroup
	here.Add(len(roles))
	a.target.prepares = func(release.Role) error {
		here.Done()
		together := make(chan struct{})
		go func() { here.Wait(); close(together) }()
		select {
		case <-together:
			return nil
		case <-time.After(time.Minute):
			return errors.New("it waits for another role")
		}
	}
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Parity, record.Reason)
	require.Equal(t, []string{"switch cluster " + oldBits, "switch host " + oldBits, "switch gateway " + oldBits}, a.target.calls)
}

func TestEveryRoleThatCannotBePreparedIsNamed(t *testing.T) {
	a := shipped(t, "cluster", "host", "gateway")
	a.target.calls = nil
	a.target.prepares = func(role release.Role) error {
		if role.Name == "cluster" {
			return nil
		}
		return errors.New("no space left on " + role.Name)
	}
	_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "host", "gateway"), deploy.Terms{})
	var unchanged *deploy.UnchangedError
	require.ErrorAs(t, err, &unchanged)
	require.ErrorContains(t, err, "host: no space left on host")
	require.ErrorContains(t, err, "gateway: no space left on gateway")
	require.Empty(t, a.target.calls, "none is switched")
}
