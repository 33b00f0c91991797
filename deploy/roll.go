package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Release checks a release and carries it to its record. The record tells how it
// ended; it is the zero Record if nothing was begun. An *UnchangedError says that
// nothing was changed, any other error that the record could not be kept. Of what
// runs already as recorded nothing is written: the record that stands is returned.
func (e Engine) Release(ctx context.Context, rel release.Release, t Terms) (release.Record, error) {
	if record, stands := e.stands(ctx, rel, t); stands {
		return record, nil
	}
	checked, err := e.Preflight(ctx, rel, t)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	return e.Roll(ctx, checked)
}

// Rollback carries the release that Choose picks for to out again: the same path
// as Release, without a build. Errors are those of Release.
func (e Engine) Rollback(ctx context.Context, to string, t Terms) (release.Record, error) {
	var err error
	if t.History, err = e.Read(ctx); err != nil {
		return release.Record{}, Unchanged(err)
	}
	entry, err := e.find(ctx, t.History, func(newest []release.Record) (release.Record, error) { return release.Choose(newest, to) })
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	rel := entry.Release()
	rel.Kind, rel.Origin, rel.Seq = release.KindRollback, entry.Record.Content(), 0
	t.Kept = entry.Attachments
	e.report(release.PhaseCheck, release.MarkNote, "", "back to %s %s", entry.Record.ID(), entry.Record.Version)
	return e.Release(ctx, rel, t)
}

// Roll carries a checked release to its record. A rollback is the roll of an
// older release. Errors are those of Release.
func (e Engine) Roll(ctx context.Context, c Checked) (release.Record, error) {
	options := e.Lock
	options.View = c.history.View
	lock, err := e.Ledger.Lock(ctx, options)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	defer e.unlock(lock)
	held, stop := lock.Context(ctx)
	defer stop()
	if !lock.ViewHolds() {
		// Another run may have written since the preflight.
		c.snapshots = nil
		if c.history, err = e.Read(held); err != nil {
			return release.Record{}, Unchanged(err)
		}
	}

	if settled, err := e.settleInterrupted(held, lock, c.history); err != nil {
		return release.Record{}, Unchanged(err)
	} else if settled {
		if c.history, err = e.Read(held); err != nil {
			return release.Record{}, Unchanged(err)
		}
	}

	// Every role is made ready first: what cannot arrive is found while all still runs.
	if err := e.prepare(held, c.Release); err != nil {
		return release.Record{}, Unchanged(err)
	}
	// The intent is kept before anything changes, so that a crash leaves a trace.
	begun, err := e.Ledger.Begin(held, lock, ledger.Intent{Release: c.Release, Attachments: c.bundles, Policy: c.demands, Allowed: c.allowed})
	if err != nil {
		return release.Record{}, Unchanged(fmt.Errorf("begin %s: %w", release.Short(c.Release.SHA), err))
	}
	c.Release.Seq = begun.Record.Seq
	c.earlier, err = e.formerRoles(held, c.history, begun.Record.Seq)
	if err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "what earlier releases brought is not known: %s", release.OneLine(err.Error()))
	}
	ahead := e.copyAhead(ctx, begun)
	record := e.conclude(held, begun, c, e.switchRoles(held, c))

	// The outcome is kept even when the user has given up waiting.
	return record, e.settle(context.WithoutCancel(ctx), begun, record, ahead)
}

// rollout is what happened to the roles on the way.
type rollout struct {
	live       map[string]release.Live
	took       map[string]time.Duration
	begun      []string // roles whose switch was begun, in order; if any failed it is the last
	registered map[string]string
	functions  *release.Functions
	err        error // why a role did not come up; nil if all did
}

// prepare brings to every target what its roles need; nothing that runs is touched.
func (e Engine) prepare(ctx context.Context, rel release.Release) error {
	for _, role := range rel.Roles {
		t, err := e.target(role)
		if err != nil {
			return err
		}
		if err := t.Prepare(ctx, role); err != nil {
			return roleError(role, err)
		}
	}
	return nil
}

// switchRoles switches the roles in order and asks each whether it does its work.
func (e Engine) switchRoles(ctx context.Context, c Checked) rollout {
	out := rollout{live: map[string]release.Live{}, took: map[string]time.Duration{}, registered: map[string]string{}}
	ctx, cancel := context.WithTimeoutCause(ctx, e.Timeout, &release.Failure{Code: release.CodeTimedOut, Message: "no end within " + e.Timeout.String(), Hint: "raise --timeout if the rollout needs longer"})
	defer cancel()
	for _, role := range c.Release.Roles {
		if out = e.switchRole(ctx, c, role, out); out.err != nil {
			return out
		}
	}
	out.functions, out.err = e.functions(ctx, c.Release, out.registered)
	return out
}

// switchRole switches one role and adds what came of it to the rollout.
func (e Engine) switchRole(ctx context.Context, c Checked, role release.Role, out rollout) rollout {
	began := time.Now()
	out.begun = append(out.begun, role.Name)
	t, err := e.target(role)
	if err == nil {
		out.live[role.Name], err = t.Switch(ctx, c.step(role))
		err = causeOf(ctx, err)
	}
	out.took[role.Name] = time.Since(began)
	if err == nil && e.probed(role) {
		out.registered[role.Name], err = e.probe(ctx, role)
	}
	if err != nil {
		out.err = roleError(role, err)
	}
	return out
}

// conclude reads parity after the last switch and decides how the release ended;
// if a role failed it first puts the last good release back.
func (e Engine) conclude(ctx context.Context, begun ledger.Begun, c Checked, out rollout) release.Record {
	quiet, record := context.WithoutCancel(ctx), begun.Record
	record.Functions = out.functions
	if out.err == nil {
		record = e.concludeSettled(quiet, c, record)
	} else {
		record = e.concludeFailed(ctx, begun, c, record, out)
	}
	record.Drift = nil // status compares afresh
	record.SettledAt = time.Now().UTC().Truncate(time.Millisecond)
	for i, r := range record.Roles {
		record.Roles[i].TookMS = out.took[r.Name].Milliseconds()
	}
	return record
}

// concludeSettled takes away what earlier releases brought and this one does not
// have, and compares what is there then.
func (e Engine) concludeSettled(ctx context.Context, c Checked, record release.Record) release.Record {
	faults := e.removeFormer(ctx, c.earlier, c.Release)
	record = e.compare(ctx, c.Release, comparing{earlier: missing(c.earlier, c.Release)}).observed(record, e.commits(ctx, c.history.Records()))
	record.Outcome = release.Settled
	if !record.Parity {
		faults = append(faults, record.Drift[0].String())
	}
	record.Parity = len(faults) == 0
	record.Reason = strings.Join(faults, "; ")
	return record
}

func (e Engine) concludeFailed(ctx context.Context, begun ledger.Begun, c Checked, record release.Record, out rollout) release.Record {
	record.Reason = release.OneLine(out.err.Error())
	var failure *release.Failure
	if errors.As(out.err, &failure) {
		record.Failures = append(record.Failures, failure)
		e.report(release.PhaseWait, release.MarkFail, "", "%s", failure.Error())
	}
	shown := c.Release // what the roles are held against
	var lost *ledger.LostError
	switch {
	case errors.As(context.Cause(ctx), &lost):
		// Another run may hold the lock by now: what is there is its to put right.
		record.Outcome, record.Reason = release.Failed, release.OneLine(lost.Error())
	case ctx.Err() != nil && failure == nil:
		record.Outcome, record.Reason = release.Pending, "interrupted: "+reached(c.Release, out)
	case c.noRestore:
		record.Outcome = release.Failed
	default:
		var good release.Release
		if record, good = e.restore(ctx, begun, c, record, out); record.Outcome == release.Restored {
			shown = good
		}
	}
	quiet := context.WithoutCancel(ctx)
	observed := e.compare(quiet, shown, comparing{}).observed(record, e.commits(quiet, c.history.Records()))
	record.Roles, record.Parity = observed.Roles, false
	if record.Outcome == release.Restored {
		record = tellRestored(record, shown)
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

// prune lets every target drop what no good release needs any more.
func (e Engine) prune(ctx context.Context, record release.Record) {
	records := sync.OnceValues(func() ([]release.Record, error) { return e.Ledger.List(ctx) })
	for _, role := range record.Release(nil).Roles {
		t, err := e.target(role)
		if err == nil {
			err = t.Prune(ctx, role, records)
		}
		if err != nil {
			e.report(release.PhaseRecord, release.MarkNote, role.Name, "remove what is no longer needed: %s", release.OneLine(err.Error()))
		}
	}
}

func (e Engine) unlock(l *ledger.Lock) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Release(ctx); err != nil {
		e.report(release.PhaseLock, release.MarkNote, "", "the lock was not released and will expire: %s", release.OneLine(err.Error()))
	}
}

// reached says how far an interrupted rollout came.
func reached(rel release.Release, out rollout) string {
	if len(out.begun) == 0 {
		return "before the first role was switched"
	}
	last := out.begun[len(out.begun)-1]
	live := out.live[last]
	return fmt.Sprintf("while %s was at %d/%d, %d of %d roles begun", last, live.Ready, live.Desired, len(out.begun), len(rel.Roles))
}
