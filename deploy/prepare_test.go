package deploy_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// meeting is where so many calls wait for each other; one that waits in vain is told so.
func meeting(calls int) func() error {
	var here sync.WaitGroup
	here.Add(calls)
	return func() error {
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
}

func TestRolesArePreparedAtOnceAndSwitchedInOrder(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := newApp(t, roles...)
	meet := meeting(len(roles))
	a.target.prepares = func(release.Role) error { return meet() }
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

func TestTheWayBackIsPreparedAtOnceAndSwitchedInOrder(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := shipped(t, roles...)
	meet := meeting(len(roles))
	a.target.switches = crash("gateway", newBits)
	a.target.prepares = func(role release.Role) error {
		if role.Digest == newBits {
			return nil
		}
		return meet()
	}
	a.target.calls = nil
	record, err := a.ship(t, releaseOf(newSHA, newBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome, record.Reason)
	require.Equal(t, []string{"switch cluster " + oldBits, "switch host " + oldBits, "switch gateway " + oldBits}, a.target.calls[len(roles):])
}

func TestARoleThatCannotBePreparedDoesNotKeepTheOthersFromGoingBack(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := shipped(t, roles...)
	a.target.switches = crash("gateway", newBits)
	a.target.prepares = func(role release.Role) error {
		if role.Digest == oldBits && role.Name == "host" {
			return errors.New("no space left on host")
		}
		return nil
	}
	a.target.calls = nil
	record, err := a.ship(t, releaseOf(newSHA, newBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome)
	require.Contains(t, record.Reason, "restore host: no space left on host")
	require.Equal(t, []string{"switch cluster " + oldBits, "switch gateway " + oldBits}, a.target.calls[len(roles):])
}

func TestARepairPreparesAtOnceAndSwitchesInOrder(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := shipped(t, roles...)
	for _, role := range roles {
		a.target.runs[role] = newBits
	}
	meet := meeting(len(roles))
	a.target.prepares = func(release.Role) error { return meet() }
	a.target.calls = nil
	status, err := a.Repair(t.Context(), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, roles, status.Repaired)
	require.Equal(t, []string{"switch cluster " + oldBits, "switch host " + oldBits, "switch gateway " + oldBits}, a.target.calls)
}

func TestARepairThatFailsLeavesNoPreparationBehind(t *testing.T) {
	a := shipped(t, "cluster", "host")
	a.target.runs["cluster"], a.target.runs["host"] = newBits, newBits
	var ended atomic.Bool
	failed := make(chan struct{})
	a.target.prepares = func(role release.Role) error {
		if role.Name == "cluster" {
			defer close(failed)
			return errors.New("no space left on cluster")
		}
		<-failed
		ended.Store(true)
		return nil
	}
	_, err := a.Repair(t.Context(), deploy.Terms{})
	var stopped *deploy.RepairError
	require.ErrorAs(t, err, &stopped)
	require.ErrorContains(t, err, "cluster: no space left on cluster")
	require.True(t, ended.Load(), "the lock is given back when nothing is under way")
}

func TestAFirstReleaseIsTakenBackAtOnce(t *testing.T) {
	roles := []string{"cluster", "host", "gateway"}
	a := newApp(t, roles...)
	meet := meeting(len(roles))
	a.target.switches = crash("gateway", newBits)
	a.target.undoes = func(role release.Role) error { return errors.Join(meet(), errors.New(role.Name+" is stuck")) }
	record, err := a.ship(t, releaseOf(newSHA, newBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome)
	require.Contains(t, record.Reason, "undo cluster: cluster is stuck; undo host: host is stuck; undo gateway: gateway is stuck")
}

func TestWhatNobodyNeedsIsRemovedFromAllPlacesAtOnce(t *testing.T) {
	a := newApp(t, "cluster", "host", "gateway")
	meet := meeting(3)
	a.target.prunes = func(context.Context) error { return meet() }
	var told []string
	a.Progress = func(e release.Event) {
		if e.Mark == release.MarkNote {
			told = append(told, e.Message)
		}
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "host", "gateway"), deploy.Terms{})
	require.NoError(t, err)
	require.Empty(t, told)
}

func TestImagesAreVerifiedAtOnceAndToldInOrder(t *testing.T) {
	a := newApp(t, "cluster", "host", "gateway")
	rel := releaseOf(oldSHA, oldBits, "cluster", "host", "gateway")
	for i := range rel.Roles {
		rel.Roles[i].Digest += string(rune('a' + i))
	}
	meet := meeting(3)
	verify := func(_ context.Context, role release.Role, _ map[string][]byte) (deploy.Verified, error) {
		return deploy.Verified{Bundles: map[string][]byte{role.Name: nil}}, meet()
	}
	a.Policy.Verify = verify
	_, err := a.ship(t, rel, deploy.Terms{})
	require.NoError(t, err)
	meet = meeting(3)
	_, checks, err := a.Verify(t.Context(), -1, 0)
	require.NoError(t, err)
	var images []string
	for _, c := range checks {
		if c.Subject == deploy.SubjectSignature {
			require.True(t, c.OK, c.Detail)
			images = append(images, c.Object)
		}
	}
	require.Len(t, images, 3)
	require.Contains(t, images[0], "cluster")
	require.Contains(t, images[2], "gateway")

	a.Policy.Verify = func(context.Context, release.Role, map[string][]byte) (deploy.Verified, error) {
		return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("nobody signed it")}
	}
	for i := range rel.Roles {
		rel.Roles[i].Digest = newBits + string(rune('a'+i))
	}
	_, err = a.ship(t, rel, deploy.Terms{})
	var refused *release.Refusal
	require.ErrorAs(t, err, &refused)
	for i, f := range refused.Findings {
		require.Equal(t, rel.Roles[i].Name, f.Role)
	}
}
