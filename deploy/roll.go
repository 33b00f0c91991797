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

// Release runs the preflight and then Roll. It returns the record of the outcome,
// or the zero Record if the release never began. An *UnchangedError means that
// nothing was changed, any other error that the outcome could not be recorded. If
// the release runs already as recorded, nothing is written and that record is
// returned.
func (e Engine) Release(ctx context.Context, rel release.Release, t Terms) (release.Record, error) {
	rel = t.History.withRecordedFiles(rel)
	if record, running := e.alreadyRunning(ctx, rel, t); running {
		return record, nil
	}
	if e.Changing != nil {
		e.Changing()
	}
	checked, err := e.preflight(ctx, rel, t)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	return e.roll(ctx, checked)
}

// Rollback rolls out the earlier release that release.Choose selects for to. It
// runs the same steps as Release, without a build. Errors are those of Release.
func (e Engine) Rollback(ctx context.Context, to string, t Terms) (release.Record, error) {
	var err error
	if t.History, err = e.Read(ctx); err != nil {
		return release.Record{}, Unchanged(err)
	}
	entry, err := e.chosen(ctx, t.History, to)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	rel := entry.Release()
	rel.Kind, rel.Origin, rel.Seq, rel.From = release.KindRollback, entry.Record.Content(), 0, nil
	t.Attached = entry.Attachments
	e.report(release.PhaseCheck, release.MarkNote, "", "rolling back to %s", strings.TrimSpace(entry.Record.ID()+" "+entry.Record.Version))
	return e.Release(ctx, rel, t)
}

// roll executes a checked release: lock, prepare, begin, switch, compare, record. A
// rollback is the roll of an older release. Errors are those of Release.
func (e Engine) roll(ctx context.Context, c checked) (release.Record, error) {
	options := e.Lock
	options.View = c.history.View
	lock, err := e.Ledger.Lock(ctx, options)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	defer e.unlock(lock)
	lockCtx, stop := lock.Context(ctx)
	defer stop()
	if !lock.ViewHolds() {
		if c, err = e.reread(lockCtx, c); err != nil {
			return release.Record{}, Unchanged(err)
		}
	}

	if c.history, err = e.settleInterrupted(lockCtx, lock, c.history); err != nil {
		return release.Record{}, Unchanged(err)
	}

	// All roles are prepared before any is switched: a download that fails must not
	// interrupt what runs.
	if c.Release, err = e.prepare(lockCtx, c.Release); err != nil {
		return release.Record{}, Unchanged(err)
	}
	adopted, err := e.adopt(lockCtx, c)
	if err != nil {
		return release.Record{}, Unchanged(err)
	}
	// The pending record is written before the first change, so that a crash leaves a trace.
	begun, err := e.Ledger.Begin(lockCtx, lock, ledger.PendingRecord{Release: c.Release, Attachments: c.bundles, Policy: c.required, Allowed: c.allowed,
		Environment: e.Config.Environment, Adopted: adopted})
	if err != nil {
		return release.Record{}, Unchanged(fmt.Errorf("record the start of %s: %w", release.Short(c.Release.SHA), err))
	}
	c.Release.Seq = begun.Record.Seq
	if e.Begun != nil {
		e.Begun(begun.Record)
	}
	c.formerRoles, err = e.formerRoles(lockCtx, c.history, begun.Record.Seq)
	if err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "cannot tell what earlier releases left behind: %s", release.OneLine(err.Error()))
	}
	registryCopy := e.startRegistryCopy(ctx, begun)
	record := e.conclude(lockCtx, begun, c, e.switchRoles(lockCtx, c))

	// The outcome is stored even when the user has given up waiting.
	return record, e.seal(context.WithoutCancel(ctx), begun, record, registryCopy)
}

// rollout is the progress of one run over its roles.
type rollout struct {
	live       map[string]release.Live
	took       map[string]time.Duration
	switched   []string // roles whose switch was begun, in order; if any failed it is the last
	registered map[string]*registration
	functions  *release.Functions
	err        error // why a role did not come up; nil if all did
}

// switchRoles switches the roles in order and asks each whether it does its work.
func (e Engine) switchRoles(ctx context.Context, c checked) rollout {
	out := rollout{live: map[string]release.Live{}, took: map[string]time.Duration{}, registered: map[string]*registration{}}
	ctx, cancel := e.limited(ctx)
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
func (e Engine) switchRole(ctx context.Context, c checked, role release.Role, out rollout) rollout {
	began := time.Now()
	out.switched = append(out.switched, role.Name)
	t, err := e.target(role)
	if err == nil {
		out.live[role.Name], err = t.Switch(ctx, c.step(role))
		err = causeOf(ctx, err)
	}
	out.took[role.Name] = time.Since(began)
	if err == nil && e.probed(c.Release, role) {
		var proof string
		proof, err = e.probe(ctx, role)
		out.registered[role.Name] = proven(proof)
	}
	if err != nil {
		out.err = roleError(role, err)
	}
	return out
}

// conclude reads parity after the last switch and decides how the release ended;
// if a role failed it first puts the last good release back.
func (e Engine) conclude(ctx context.Context, begun ledger.Begun, c checked, out rollout) release.Record {
	uncancelled, record := context.WithoutCancel(ctx), begun.Record
	record.Functions = out.functions
	if out.err == nil {
		record = e.concludeSettled(uncancelled, c, record)
	} else {
		record = e.concludeFailed(ctx, begun, c, record, out)
	}
	record.Drift = nil // drift is not stored: status recomputes it
	record.SettledAt = time.Now().UTC().Truncate(time.Millisecond)
	for i, r := range record.Roles {
		record.Roles[i].TookMS = out.took[r.Name].Milliseconds()
	}
	return record
}

// concludeSettled removes what only earlier releases have, and compares what runs
// then with the release.
func (e Engine) concludeSettled(ctx context.Context, c checked, record release.Record) release.Record {
	faults := e.removeFormerRoles(ctx, c.formerRoles, c.Release)
	record = e.compare(ctx, c.Release, compareOptions{formerRoles: missing(c.formerRoles, c.Release)}).applyTo(record, e.commits(ctx, c.history.Records()))
	record.Outcome = release.Settled
	if !record.Parity {
		faults = append(faults, record.Drift[0].String())
	}
	record.Parity = len(faults) == 0
	record.Reason = strings.Join(faults, "; ")
	return record
}

func (e Engine) concludeFailed(ctx context.Context, begun ledger.Begun, c checked, record release.Record, out rollout) release.Record {
	record.Reason = release.OneLine(out.err.Error())
	var failure *release.Failure
	if errors.As(out.err, &failure) {
		record.Failures = append(record.Failures, failure)
		e.Progress.Report(release.Event{Phase: release.PhaseWait, Mark: release.MarkFail, Role: failure.Role, Code: failure.Code, Message: failure.Error()})
	}
	expected := c.Release // what the roles are compared with
	var lost *ledger.LostError
	switch {
	case errors.As(context.Cause(ctx), &lost):
		// Another run may hold the lock by now, and puts right what is there.
		record.Outcome, record.Reason = release.Failed, release.OneLine(lost.Error())
	case ctx.Err() != nil && failure == nil:
		record.Outcome, record.Reason = release.Pending, "interrupted: "+reached(c.Release, out)
	case c.noRestore:
		record.Outcome = release.Failed
	default: // it is restored
		var good release.Release
		if record, good = e.restore(ctx, begun, c, record, out); record.Outcome == release.Restored {
			expected = good
		}
	}
	uncancelled := context.WithoutCancel(ctx)
	observed := e.compare(uncancelled, expected, compareOptions{}).applyTo(record, e.commits(uncancelled, c.history.Records()))
	record.Roles, record.Parity = observed.Roles, false
	if record.Outcome == release.Restored {
		record = describeRestored(record, expected)
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

// prune lets every target delete what no good release needs, all at once.
func (e Engine) prune(ctx context.Context, record release.Record) {
	records := sync.OnceValues(func() ([]release.Record, error) { return e.Ledger.Stored(ctx) })
	var all sync.WaitGroup
	for _, role := range record.Release(nil).Roles {
		all.Go(func() {
			t, err := e.target(role)
			if err == nil {
				err = t.Prune(ctx, role, records)
			}
			if err != nil {
				e.report(release.PhaseRecord, release.MarkNote, role.Name, "prune old releases: %s", release.OneLine(err.Error()))
			}
		})
	}
	all.Wait()
}

func (e Engine) unlock(l *ledger.Lock) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Unlock(ctx); err != nil {
		e.report(release.PhaseLock, release.MarkNote, "", "could not unlock; the lock will expire: %s", release.OneLine(err.Error()))
	}
}

// reached describes how far an interrupted rollout got.
func reached(rel release.Release, out rollout) string {
	if len(out.switched) == 0 {
		return "before the first role was switched"
	}
	last := out.switched[len(out.switched)-1]
	live := out.live[last]
	return fmt.Sprintf("while switching %s (%d/%d ready), role %d of %d", last, live.Ready, live.Desired, len(out.switched), len(rel.Roles))
}
