package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// crash fails the switch of a role to a digest.
func crash(role, digest string) func(context.Context, deploy.Step) error {
	return func(_ context.Context, step deploy.Step) error {
		if step.Role.Name == role && step.Role.Digest == digest {
			return &release.Failure{Code: "CrashLoop", Message: "it ended with exit code 1", Hint: "read its log"}
		}
		return nil
	}
}

func TestReleaseAndRollback(t *testing.T) {
	t.Run("the first release settles in parity", func(t *testing.T) {
		a := newApp(t, "cluster", "gateway")
		record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.True(t, record.Parity)
		require.EqualValues(t, 1, record.Seq)
		require.Equal(t, []string{"switch cluster " + oldBits, "switch gateway " + oldBits}, a.target.calls)
		require.Equal(t, oldSHA, record.Roles[1].LiveSHA)
		sealed, err := a.Ledger.Read(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, sealed.Sealed)
	})

	t.Run("the second follows the first", func(t *testing.T) {
		a := shipped(t, "cluster")
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 2, record.Seq)
		require.EqualValues(t, 1, record.Previous)
		require.Equal(t, newBits, a.target.runs["cluster"])
	})

	t.Run("a rollback is the roll of the release before, without a build", func(t *testing.T) {
		a := shipped(t, "cluster")
		_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.KindRollback, record.Kind)
		require.EqualValues(t, 1, record.Origin)
		require.Equal(t, oldSHA, record.SHA)
		require.Equal(t, oldBits, a.target.runs["cluster"])
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.Record.Parity)
		require.EqualValues(t, 3, status.Record.Seq)
	})

	t.Run("with nothing earlier a rollback changes nothing", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.calls = nil
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		var none *release.NoneError
		require.ErrorAs(t, err, &none)
		require.Zero(t, record)
		require.Empty(t, a.target.calls)
	})

	t.Run("a rollback goes to a role that the configuration lacks", func(t *testing.T) {
		a := newApp(t, "cluster", "worker")
		_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		a.Config.Roles = a.Config.Roles[:1]
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.Equal(t, oldBits, a.target.runs["worker"])
	})

	t.Run("a role of no known target is an error, and nothing is changed", func(t *testing.T) {
		a := newApp(t, "cluster")
		rel := releaseOf(oldSHA, oldBits, "cluster")
		rel.Roles[0].Target = "nomad"
		_, err := a.ship(t, rel, deploy.Terms{})
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		require.EqualError(t, err, oldSHA[:7]+`: role cluster runs on "nomad", and no role of shipit.yaml does`)
	})
}

// shipped is an app whose first release settled.
func shipped(t *testing.T, roles ...string) *app {
	t.Helper()
	a := newApp(t, roles...)
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, roles...), deploy.Terms{})
	require.NoError(t, err)
	return a
}

func TestFailure(t *testing.T) {
	t.Run("of two roles of which the second fails both go back", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.calls, a.target.switches = nil, crash("gateway", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err, "the record tells how it ended")
		require.Equal(t, release.Restored, record.Outcome)
		require.EqualValues(t, 1, record.Restored)
		require.False(t, record.Parity)
		require.Equal(t, "CrashLoop", string(record.Failures[0].Code))
		require.Equal(t, "gateway", record.Failures[0].Role)
		require.Equal(t, []string{"switch cluster " + newBits, "switch gateway " + newBits, "switch cluster " + oldBits, "switch gateway " + oldBits}, a.target.calls)
		require.Equal(t, oldSHA, record.Roles[0].LiveSHA)
	})

	t.Run("a first release that fails has nothing to go back to", func(t *testing.T) {
		a := newApp(t, "cluster")
		a.target.switches = crash("cluster", oldBits)
		record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "there is no earlier good release to restore")
	})

	t.Run("a first release that fails on a machine puts back what its services were before", func(t *testing.T) {
		a := newApp(t, "cluster", "host", "gateway")
		a.target.switches = crash("host", oldBits)
		rel := releaseOf(oldSHA, oldBits, "cluster", "host", "gateway")
		for i := range rel.Roles {
			rel.Roles[i].Target = release.TargetHost
		}
		a.Targets[release.TargetHost] = a.target
		record, err := a.ship(t, rel, deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, a.target.calls, "remove cluster")
		require.Contains(t, a.target.calls, "remove host")
		require.NotContains(t, a.target.calls, "remove gateway", "its switch never began")
	})

	t.Run("after a restore the roles tell what runs again", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.switches = crash("gateway", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		for _, r := range record.Roles {
			require.Equal(t, oldBits, r.LiveDigest)
			require.Equal(t, oldBits, r.Wanted, "the target is told to run what it ran before")
			require.Equal(t, oldSHA, r.LiveSHA)
			require.Equal(t, "1/1", fmt.Sprintf("%d/%d", r.Ready, r.Desired))
			require.False(t, r.InParity)
		}
		require.Equal(t, "#1 01d0000 runs again", record.Roles[0].Reason)
		require.Contains(t, record.Roles[1].Reason, "CrashLoop")
	})

	t.Run("what only the failed release has is taken away", func(t *testing.T) {
		a := newApp(t, "cluster", "worker")
		_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		a.target.switches = crash("worker", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome, record.Reason)
		require.Contains(t, a.target.calls, "remove worker")
	})

	t.Run("a restore that fails leaves the record failed, and puts the other roles back", func(t *testing.T) {
		a := shipped(t, "cluster", "host", "gateway")
		a.target.calls = nil
		a.target.switches = func(_ context.Context, s deploy.Step) error {
			if s.Role.Name == "gateway" && s.Role.Digest == newBits || s.Role.Name == "cluster" && s.Role.Digest == oldBits {
				return errors.New("no")
			}
			return nil
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "host", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "gateway: no; restore cluster: no")
		require.Equal(t, oldBits, a.target.runs["host"])
		require.Equal(t, oldBits, a.target.runs["gateway"])
		require.Equal(t, []string{"switch cluster " + oldBits, "switch host " + oldBits, "switch gateway " + oldBits}, a.target.calls[3:])
	})

	t.Run("with NoRestore it stays as it is", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.switches = crash("cluster", newBits)
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{NoRestore: true})
		require.NoError(t, err)
		require.Equal(t, release.Failed, record.Outcome)
		require.Equal(t, "switch cluster "+newBits, a.target.calls[len(a.target.calls)-1])
	})

	t.Run("the limit of the rollout is the cause where a role has none of its own", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.Timeout = 50 * time.Millisecond
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Digest == oldBits {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Restored, record.Outcome)
		require.Equal(t, "TimedOut", string(record.Failures[0].Code))
	})
}

func TestAccidents(t *testing.T) {
	t.Run("an interrupted release stays pending, and the next one seals it and goes on", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		ctx, interrupt := context.WithCancel(t.Context())
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Name == "gateway" && s.Role.Digest == newBits {
				interrupt()
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		record, err := a.shipWithin(ctx, t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Pending, record.Outcome)
		require.Contains(t, record.Reason, "interrupted: while gateway was at 0/0, 2 of 2 roles begun")

		a.target.switches = nil
		record, err = a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.EqualValues(t, 3, record.Seq)
	})

	for name, c := range map[string]struct {
		runs     string // what is found of the interrupted release
		restored int64
	}{
		"a release that was live everywhere and only not sealed becomes good": {newBits, 2},
		"a release that was interrupted half way is pending, and stays that":  {oldBits, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := shipped(t, "cluster")
			a.kill(t, releaseOf(newSHA, newBits, "cluster"))
			a.target.runs["cluster"] = c.runs

			const otherBits = "sha256:ba5e"
			a.target.switches = crash("cluster", otherBits)
			record, err := a.ship(t, releaseOf("ba5e000ba5e000ba5e000ba5e000ba5e000ba5e0", otherBits, "cluster"), deploy.Terms{})
			require.NoError(t, err)
			require.Equal(t, release.Restored, record.Outcome, record.Reason)
			require.Equal(t, c.restored, record.Restored)
			require.EqualValues(t, 3, record.Seq)
		})
	}

	t.Run("a rollback over what was interrupted goes to the good release under it", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.kill(t, releaseOf(newSHA, newBits, "cluster"))
		a.target.runs["cluster"] = newBits
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.EqualValues(t, 1, record.Origin)
		require.Equal(t, oldBits, a.target.runs["cluster"])
	})

	t.Run("a lock that is held ends a release before anything is changed", func(t *testing.T) {
		a := shipped(t, "cluster")
		a.target.calls = nil
		other := ledger.New(a.store, "bus", ledger.Options{})
		lock, err := other.Lock(t.Context(), ledger.LockOptions{Holder: "another"})
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Release(context.WithoutCancel(t.Context()))) }()
		_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
		var unchanged *deploy.UnchangedError
		require.ErrorAs(t, err, &unchanged)
		require.Empty(t, a.target.calls)
	})

	t.Run("a lock that is lost ends the roll, and nothing is put back without it", func(t *testing.T) {
		a := shipped(t, "cluster", "gateway")
		a.target.calls = nil
		a.target.switches = func(ctx context.Context, _ deploy.Step) error {
			held, err := a.store.ReadLock(ctx)
			require.NoError(t, err)
			held.Fields = map[string]string{"holder": "another", "fence": "99", "head": "2", "ttl": "1m"}
			swapped, err := a.store.SwapLock(ctx, held)
			require.NoError(t, err)
			require.NotEmpty(t, swapped)
			<-ctx.Done()
			return ctx.Err()
		}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{})
		require.Error(t, err, "the outcome is another run's to keep")
		require.Equal(t, release.Failed, record.Outcome)
		require.Contains(t, record.Reason, "the lock was")
		require.Equal(t, []string{"switch cluster " + newBits}, a.target.calls)
	})
}

func TestVerifyReadsContentWhole(t *testing.T) {
	a := shipped(t, "cluster")
	_, err := a.Status(t.Context())
	require.NoError(t, err)
	require.False(t, a.target.whole)
	_, _, err = a.Verify(t.Context(), 0)
	require.NoError(t, err)
	require.True(t, a.target.whole)
}

func TestStatus(t *testing.T) {
	t.Run("before the first release there is nothing to compare with", func(t *testing.T) {
		_, err := newApp(t, "cluster").Status(t.Context())
		var none *deploy.NothingReleasedError
		require.ErrorAs(t, err, &none)
	})

	t.Run("another digest, a stopped role and a changed object are drift", func(t *testing.T) {
		a := shipped(t, "cluster", "host", "gateway")
		a.target.runs["cluster"] = newBits
		a.target.stopped["host"] = true
		a.target.changed["gateway"] = []deploy.Change{{Role: "gateway", Object: "Deployment gateway", Action: "configured", Diff: "- spec.replicas: 0\n+ spec.replicas: 3"}}
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.Record.Parity)
		var kinds []release.DriftKind
		for _, d := range status.Record.Drift {
			kinds = append(kinds, d.Kind)
		}
		require.Equal(t, []release.DriftKind{release.DriftDigest, release.DriftUnready, release.DriftObject}, kinds)
		require.Equal(t, "gateway: object: wanted 3, live 0 (Deployment gateway: spec.replicas)", status.Record.Drift[2].String())
		require.False(t, status.Record.Roles[2].InParity)
	})

	t.Run("a role that cannot be read is unknown, and the others are still compared", func(t *testing.T) {
		a := shipped(t, "cluster", "host")
		a.target.away["host"] = errors.New("no route")
		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.Len(t, status.Record.Drift, 1)
		require.Equal(t, release.DriftUnknown, status.Record.Drift[0].Kind)
		require.Equal(t, "host", status.Record.Drift[0].Role)
		require.Equal(t, "no route", status.Record.Drift[0].Detail)
		require.True(t, status.Record.Roles[0].InParity)
	})
}

func TestTheCommitOfForeignBitsIsFoundHoweverOldItIs(t *testing.T) {
	a := newApp(t, "cluster", "gateway")
	for i := range 12 {
		sha := fmt.Sprintf("%040x", i+1)
		_, err := a.ship(t, releaseOf(sha, fmt.Sprintf("sha256:%d", i+1), "cluster", "gateway"), deploy.Terms{})
		require.NoError(t, err)
	}
	a.target.switches = func(_ context.Context, s deploy.Step) error {
		a.target.runs["cluster"] = "sha256:1" // by another hand
		return errors.New("no")
	}
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "gateway"), deploy.Terms{NoRestore: true})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%040x", 1), record.Roles[0].LiveSHA)
}

func TestNothingIsLeftBehind(t *testing.T) {
	t.Run("a role that the release has no more is taken away", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.NotContains(t, a.target.runs, "worker")
		require.Equal(t, "remove worker", a.target.calls[len(a.target.calls)-1], "after the switch of those that stay")
	})

	t.Run("a rollback takes away what the later release brought", func(t *testing.T) {
		a := shipped(t, "cluster")
		_, err := a.ship(t, releaseOf(newSHA, newBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		record, err := a.Rollback(t.Context(), "", deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.Equal(t, map[string]string{"cluster": oldBits}, a.target.runs)
	})

	t.Run("what cannot be taken away is drift, and no good release", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		a.target.stuck["worker"] = errors.New("a finalizer holds it")
		a.target.runs["worker"] = oldBits
		a.target.switches = func(context.Context, deploy.Step) error { return nil }
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Settled, record.Outcome)
		require.False(t, record.Parity)
		require.Contains(t, record.Reason, "remove worker of #1 "+oldSHA[:7]+": a finalizer holds it")
	})

	t.Run("what a killed release brought is drift until the next release takes it away", func(t *testing.T) {
		a := shipped(t, "cluster")
		ctx, kill := context.WithCancel(t.Context())
		a.target.switches = func(ctx context.Context, s deploy.Step) error {
			if s.Role.Name != "worker" {
				return nil
			}
			a.target.runs["worker"] = newBits
			kill()
			return ctx.Err()
		}
		record, err := a.shipWithin(ctx, t, releaseOf(newSHA, oldBits, "cluster", "worker"), deploy.Terms{})
		require.NoError(t, err)
		require.Equal(t, release.Pending, record.Outcome)

		status, err := a.Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.Record.Parity)
		require.Equal(t, release.DriftForeign, status.Record.Drift[0].Kind)
		require.Equal(t, "worker", status.Record.Roles[1].Name)
		require.Equal(t, "only #2 "+newSHA[:7]+" has this role", status.Record.Roles[1].Reason)

		a.target.switches = nil
		record, err = a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity, record.Reason)
		require.NotContains(t, a.target.runs, "worker")
	})

	t.Run("what the configuration keeps stays, and is no drift", func(t *testing.T) {
		a := shipped(t, "cluster", "worker")
		a.Config.Keep = []string{"worker"}
		record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
		require.NoError(t, err)
		require.True(t, record.Parity)
		require.Equal(t, oldBits, a.target.runs["worker"])
	})
}

func TestWhatRunsAsRecordedIsNotWrittenAgain(t *testing.T) {
	count := func(a *app) int {
		records, err := a.Ledger.List(t.Context())
		require.NoError(t, err)
		return len(records)
	}
	same := releaseOf(oldSHA, oldBits, "cluster")

	a := shipped(t, "cluster")
	a.target.calls = nil
	record, err := a.ship(t, same, deploy.Terms{})
	require.NoError(t, err)
	require.True(t, record.Unchanged)
	require.EqualValues(t, 1, record.Seq)
	require.Equal(t, 1, record.Roles[0].Ready)
	require.Equal(t, 1, count(a))
	require.Empty(t, a.target.calls)

	t.Run("but it is if that is asked for", func(t *testing.T) {
		record, err := a.ship(t, same, deploy.Terms{Record: true})
		require.NoError(t, err)
		require.False(t, record.Unchanged)
		require.Equal(t, 2, count(a))
	})

	for name, change := range map[string]func(a *app, rel *release.Release){
		"another commit":      func(_ *app, rel *release.Release) { rel.SHA = newSHA },
		"another version":     func(_ *app, rel *release.Release) { rel.Version = "2.0.0" },
		"another object":      func(_ *app, rel *release.Release) { rel.Roles[0].Objects = []json.RawMessage{[]byte(`{"a":1}`)} },
		"something else runs": func(a *app, _ *release.Release) { a.target.runs["cluster"] = newBits },
		"a changed object": func(a *app, _ *release.Release) {
			a.target.changed["cluster"] = []deploy.Change{{Object: "x", Action: "created"}}
		},
		"a record that was later": func(a *app, _ *release.Release) { a.fail(t) },
	} {
		t.Run("not so with "+name, func(t *testing.T) {
			a, rel := shipped(t, "cluster"), releaseOf(oldSHA, oldBits, "cluster")
			change(a, &rel)
			before := count(a)
			record, err := a.ship(t, rel, deploy.Terms{})
			require.NoError(t, err)
			require.False(t, record.Unchanged)
			require.Equal(t, before+1, count(a))
		})
	}

	t.Run("and not while another run holds the lock", func(t *testing.T) {
		lock, err := ledger.New(a.store, "bus", ledger.Options{}).Lock(t.Context(), ledger.LockOptions{Holder: "another"})
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Release(context.WithoutCancel(t.Context()))) }()
		_, err = a.ship(t, same, deploy.Terms{})
		var held *ledger.HeldError
		require.ErrorAs(t, err, &held)
	})
}

// kill leaves the trace of a run that has begun a release and did not come back.
func (a *app) kill(t *testing.T, rel release.Release) {
	t.Helper()
	lock, err := a.Ledger.Lock(t.Context(), ledger.LockOptions{})
	require.NoError(t, err)
	_, err = a.Ledger.Begin(t.Context(), lock, ledger.Intent{Release: rel})
	require.NoError(t, err)
	require.NoError(t, lock.Release(t.Context()))
}

// fail makes a release that fails and is restored.
func (a *app) fail(t *testing.T) {
	t.Helper()
	a.target.switches = crash("cluster", newBits)
	record, err := a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Restored, record.Outcome)
	a.target.switches = nil
}

func TestPlan(t *testing.T) {
	a := shipped(t, "cluster")
	history, err := a.Read(t.Context())
	require.NoError(t, err)
	plan, err := a.Plan(t.Context(), releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{History: history}, nil)
	require.NoError(t, err)
	require.Empty(t, plan.Changes, "what was just released needs nothing")
	require.Equal(t, oldSHA, plan.Running)

	plan, err = a.Plan(t.Context(), releaseOf(newSHA, newBits, "cluster"), deploy.Terms{History: history}, nil)
	require.NoError(t, err)
	require.Equal(t, []deploy.Change{{Role: "cluster", Object: "entry", Action: deploy.Switched}}, plan.Changes)
	require.Equal(t, []string{"switch cluster " + oldBits}, a.target.calls, "a plan changes nothing")
}

func TestSignaturesAreDemandedBeforeAnythingChanges(t *testing.T) {
	a := newApp(t, "cluster")
	a.Policy.Verify = func(_ context.Context, role release.Role, _ map[string][]byte) (deploy.Verified, error) {
		if role.Digest == newBits {
			return deploy.Verified{}, &deploy.UntrustedError{Err: errors.New("nobody signed it"), Hint: "sign it"}
		}
		return deploy.Verified{Bundles: map[string][]byte{"bundle.old": []byte("{}")}}, nil
	}
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	entry, err := a.Ledger.Read(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"bundle.old": []byte("{}")}, entry.Attachments)

	_, err = a.ship(t, releaseOf(newSHA, newBits, "cluster"), deploy.Terms{Allow: []release.Code{release.CodeUntrusted}})
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal, "an untrusted image cannot be allowed")
	require.Equal(t, oldBits, a.target.runs["cluster"])
}

func TestAProbeThatDoesNotHoldFailsTheRelease(t *testing.T) {
	a := newApp(t, "cluster")
	a.Config.Roles[0].Port = 3111
	a.Config.Roles[0].Probe = &config.Probe{Path: "/", Expect: []string{"status == 204"}, Within: config.Duration(50 * time.Millisecond), Every: config.Duration(10 * time.Millisecond)}
	record, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Equal(t, release.Failed, record.Outcome)
	require.True(t, strings.Contains(record.Reason, "status == 204"), record.Reason)
}

// slowStore notes how long it had to keep an outcome.
type slowStore struct {
	ledger.Store
	left time.Duration
}

func (s *slowStore) Swap(ctx context.Context, e ledger.StoredEntry) (string, error) {
	if deadline, ok := ctx.Deadline(); ok && e.Sealed {
		s.left = time.Until(deadline)
	}
	return s.Store.Swap(ctx, e)
}

func TestAnOutcomeIsTriedToBeKeptLongerThanWhatFollows(t *testing.T) {
	a := newApp(t, "cluster")
	store := &slowStore{Store: a.store}
	a.Ledger = ledger.New(store, "bus", ledger.Options{})
	_, err := a.ship(t, releaseOf(oldSHA, oldBits, "cluster"), deploy.Terms{})
	require.NoError(t, err)
	require.Greater(t, store.left, 20*time.Second, "an outage of the API server can last as long as its restart")
}
