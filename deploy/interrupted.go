package deploy

import (
	"context"
	"time"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// settleInterrupted looks at a release that a killed run has begun and never
// settled. If it runs everywhere as it was released, and does its work, it is
// settled now: it can be rolled back to. Otherwise the next Begin seals it as
// pending. It returns the history as it is then.
func (e Engine) settleInterrupted(ctx context.Context, lock *ledger.Lock, h History) (History, error) {
	left, found, err := e.Ledger.Left(ctx, lock)
	if err != nil || !found || len(left.Begun.Record.Failures) > 0 || left.Begun.Record.Reason != "" {
		return h, err // one that failed was being restored
	}
	record, runs := e.runsWhole(ctx, left.Release, left.Begun.Record, h)
	if !runs {
		return h, nil
	}
	record.Outcome, record.SettledAt = release.Settled, time.Now().UTC().Truncate(time.Millisecond)
	if _, err := e.Ledger.Seal(ctx, left.Begun, record); err != nil {
		return h, err
	}
	e.report(release.PhaseRecord, release.MarkNote, "", "%s was interrupted and runs everywhere: settled", record.ID())
	return e.Read(ctx)
}

// runsWhole finds whether a release that was begun runs in parity and its probes hold.
func (e Engine) runsWhole(ctx context.Context, rel release.Release, record release.Record, h History) (release.Record, bool) {
	earlier, err := e.formerRoles(ctx, h, rel.Seq)
	if err != nil {
		return record, false
	}
	// It may not have come to register: the probe makes it do so.
	record = e.compare(ctx, rel, compareOptions{formerRoles: missing(earlier, rel), ownObjects: true}).applyTo(record, nil)
	if !record.Parity {
		return record, false
	}
	registered := map[string]*registration{}
	for _, role := range rel.Roles {
		if !e.probed(rel, role) {
			continue
		}
		proof, err := e.probe(ctx, role)
		if err != nil {
			return record, false
		}
		registered[role.Name] = proven(proof)
	}
	record.Functions, err = e.functions(ctx, rel, registered)
	record.Drift = nil
	return record, err == nil
}
