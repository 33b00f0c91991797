package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// roll carries a release to its record. A rollback is the roll of an older release.
func roll(ctx context.Context, s *site, rel release.Release) (release.Record, error) {
	lock, err := s.lock(ctx)
	if err != nil {
		return release.Record{}, before(err)
	}
	defer s.unlock(lock)
	ctx, stop := lock.Context(ctx)
	defer stop()

	// Every place is made ready first: what cannot arrive is found while all still runs.
	if err := s.prepare(ctx, rel); err != nil {
		return release.Record{}, before(err)
	}
	// The intent is kept before anything changes, so that a crash leaves a trace.
	record, err := s.ledger.Begin(ctx, lock, rel, s.bundles)
	if err != nil {
		return release.Record{}, before(fmt.Errorf("begin %s: %w", rel.ID(), err))
	}
	rel.Seq = record.Seq
	ahead := s.copyAhead(ctx)
	rollout, failed := s.switchRoles(ctx, rel)
	record = s.outcome(ctx, rel, record, rollout, failed)

	// The outcome is kept even when the user has given up waiting.
	err = s.settle(context.WithoutCancel(ctx), lock, record, ahead)
	return record, errors.Join(verdict(record, failed), err)
}

// rollout is what happened to every role on the way.
type rollout struct {
	live      map[string]release.Live
	took      map[string]time.Duration
	reached   []string  // roles that were begun, in order; the last one failed if any did
	touched   time.Time // when a role was last switched or asked: what was seen before is old
	functions *release.Functions
}

// prepare brings to every place what its role needs; nothing that runs is touched.
func (s *site) prepare(ctx context.Context, rel release.Release) error {
	for _, role := range rel.Roles {
		if err := s.target(role).Prepare(ctx, role); err != nil {
			return roleError(role, err)
		}
	}
	return nil
}

// switchRoles switches every role in order and proves each one.
func (s *site) switchRoles(ctx context.Context, rel release.Release) (rollout, error) {
	out := rollout{live: map[string]release.Live{}, took: map[string]time.Duration{}}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, &release.Failure{Code: release.CodeTimedOut, Message: "no end within " + s.timeout.String(), Hint: "raise --timeout if the rollout needs longer"})
	defer cancel()
	for _, role := range rel.Roles {
		began := s.now()
		out.reached, out.touched = append(out.reached, role.Name), began
		live, err := s.target(role).Switch(ctx, rel, role)
		out.live[role.Name], out.took[role.Name] = live, s.now().Sub(began)
		if cfg, ok := s.cfg.Role(role.Name); ok && err == nil && asks(cfg) {
			err = s.probe(ctx, role)
			out.touched = s.now()
		}
		if err != nil {
			return out, roleError(role, err)
		}
	}
	functions, err := s.functions(ctx, rel)
	out.functions = functions
	return out, err
}

// outcome reads parity after the last switch and decides how the release
// ended; if a role failed it first puts the last good release back.
func (s *site) outcome(ctx context.Context, rel release.Release, record release.Record, out rollout, failed error) release.Record {
	quiet := context.WithoutCancel(ctx)
	record.Functions = out.functions
	if failed == nil {
		record = record.Observe(rel, s.observeSince(quiet, rel, out.live, out.touched), nil)
		record.Outcome = release.Settled
		if !record.Parity {
			record.Reason = record.Drift[0].String()
		}
	} else {
		record = s.failedOutcome(ctx, rel, record, out, failed)
	}
	record.Drift = nil // status compares afresh
	record.SettledAt = s.now().UTC().Truncate(time.Millisecond)
	for i, r := range record.Roles {
		record.Roles[i].TookMS = out.took[r.Name].Milliseconds()
	}
	return record
}

func (s *site) failedOutcome(ctx context.Context, rel release.Release, record release.Record, out rollout, failed error) release.Record {
	record.Reason = oneLine(failed.Error())
	var failure *release.Failure
	if errors.As(failed, &failure) {
		record.Failures = append(record.Failures, failure)
		s.report(release.Event{Phase: release.PhaseWait, Mark: release.MarkFail, Message: failure.Error()})
	}
	var lost *ledger.LostError
	switch {
	case errors.As(context.Cause(ctx), &lost):
		// Another run may hold the lock by now: what is there is its to put right.
		record.Outcome, record.Reason = release.Failed, oneLine(lost.Error())
	case ctx.Err() != nil && failure == nil:
		record.Outcome, record.Reason = release.Pending, "interrupted: "+whereReached(rel, out)
	case s.noRestore:
		record.Outcome = release.Failed
	default:
		record = s.restore(ctx, rel, record, out)
	}
	live := s.observe(context.WithoutCancel(ctx), rel)
	observed := record.Observe(rel, live, s.shaOf)
	record.Roles, record.Parity = observed.Roles, false
	if record.Outcome == release.Restored {
		record = s.runsAgain(record)
	}
	for i := range record.Roles {
		r := &record.Roles[i]
		switch {
		case record.Outcome == release.Pending && !r.InParity:
			r.Reason = "pending: " + r.Reason
		case failure != nil && failure.Role == r.Name:
			r.InParity, r.Reason = false, failure.Error()
		}
	}
	return record
}

// copyAhead begins to copy to the registry what is known before the roles are
// switched. The returned func ends it.
func (s *site) copyAhead(ctx context.Context) (stop func()) {
	ctx, stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { _, _ = s.ledger.Copy(ctx) }() // the copy of the outcome waits for it, and tells what keeps it
	return stop
}

// settle keeps the outcome. What follows from it is done at the same time, and
// fails nothing.
func (s *site) settle(ctx context.Context, lock *ledger.Lock, record release.Record, stopAhead func()) error {
	defer stopAhead()
	if err := s.ledger.Settle(ctx, lock, record); err != nil {
		return fmt.Errorf("record %s: %w", record.ID(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	context.AfterFunc(ctx, stopAhead)
	var after sync.WaitGroup
	after.Go(func() { s.unlock(lock) })
	after.Go(func() {
		if _, err := s.ledger.Copy(ctx); err != nil {
			s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Message: "the registry has no copy of the record yet: " + oneLine(err.Error())})
		}
	})
	if record.Outcome == release.Settled {
		after.Go(func() { s.attestDeployment(ctx, record) })
		after.Go(func() { s.tidy(ctx, record) })
	}
	after.Wait()
	return nil
}

// verdict is the error that a record amounts to; nil for one in parity.
func verdict(r release.Record, failed error) error {
	switch {
	case r.Outcome == release.Settled && r.Parity:
		return nil
	case r.Outcome == release.Settled:
		return &codeError{exitDrift, "settled, but what runs is not what was released: " + r.Reason, "shipit status"}
	case r.Outcome == release.Restored:
		return &codeError{exitRestored, fmt.Sprintf("%s failed, #%d runs again: %s", r.ID(), r.Restored, r.Reason), failureHint(failed)}
	case r.Outcome == release.Pending:
		return &codeError{exitInterrupted, r.ID() + " " + r.Reason, "shipit status shows what was reached; the next release or rollback takes it from there"}
	default:
		return &codeError{exitFailed, fmt.Sprintf("%s failed: %s", r.ID(), r.Reason), failureHint(failed)}
	}
}

func failureHint(err error) string {
	var f *release.Failure
	if errors.As(err, &f) {
		return f.Hint
	}
	return ""
}

// roleError names the role that an error belongs to.
func roleError(role release.Role, err error) error {
	var f *release.Failure
	if errors.As(err, &f) {
		if f.Role == "" {
			f.Role = role.Name
		}
		return f
	}
	return fmt.Errorf("%s: %w", role.Name, err)
}

func whereReached(rel release.Release, out rollout) string {
	if len(out.reached) == 0 {
		return "before the first role was switched"
	}
	last := out.reached[len(out.reached)-1]
	live := out.live[last]
	return fmt.Sprintf("while %s was at %d/%d, %d of %d roles begun", last, live.Ready, live.Desired, len(out.reached), len(rel.Roles))
}
