package main

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// restore rolls the last good release out again, role by role, and says so in
// the record. What fails on the way leaves the record failed, with both causes.
func (s *site) restore(ctx context.Context, rel release.Release, record release.Record, out rollout) release.Record {
	// The evidence is kept first: this run may be killed while it puts things back.
	if err := s.ledger.Note(ctx, s.held, record); err != nil {
		s.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Message: oneLine(err.Error())})
	}
	record.Outcome = release.Failed
	good, found, err := s.lastGood(ctx, rel.Seq)
	if err != nil || !found {
		if err != nil {
			record.Reason += "; read the last good release: " + oneLine(err.Error())
		} else {
			record.Reason += "; there is no earlier good release to restore"
		}
		return record
	}
	s.report(release.Event{Phase: release.PhaseRestore, Mark: release.MarkStart, Message: "restore " + good.ID()})
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.force = true
	for _, name := range out.reached {
		role, had := good.Role(name)
		if !had {
			s.withdrawRole(ctx, rel, name) // it is new: there is nothing to put back
			continue
		}
		if err := s.target(role).Prepare(ctx, role); err != nil {
			record.Reason += fmt.Sprintf("; restore %s: %s", name, oneLine(err.Error()))
			return record
		}
		if _, err := s.target(role).Switch(ctx, role); err != nil {
			record.Reason += fmt.Sprintf("; restore %s: %s", name, oneLine(err.Error()))
			return record
		}
	}
	if drifts := release.Compare(good, s.observe(ctx, good)); len(drifts) > 0 {
		record.Reason += "; restored, but " + drifts[0].String()
		return record
	}
	s.report(release.Event{Phase: release.PhaseRestore, Mark: release.MarkDone, Message: good.ID() + " runs again"})
	record.Outcome, record.Restored = release.Restored, good.Seq
	return record
}

// runsAgain names the commit of what was put back: with equal bits its digest is
// that of the failed release too.
func (s *site) runsAgain(record release.Record) release.Record {
	for _, good := range s.records {
		if good.Seq != record.Restored {
			continue
		}
		for i, r := range record.Roles {
			for _, g := range good.Roles {
				if g.Name == r.Name && g.Digest == r.LiveDigest {
					record.Roles[i].LiveSHA = good.SHA
				}
			}
		}
	}
	return record
}

func (s *site) withdrawRole(ctx context.Context, rel release.Release, name string) {
	role, _ := rel.Role(name)
	if err := s.target(role).Withdraw(ctx, role); err != nil {
		s.report(release.Event{Phase: release.PhaseRestore, Mark: release.MarkNote, Role: name, Message: "take it away again: " + oneLine(err.Error())})
	}
}
