package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// restore rolls the last good release out again, role by role, and says so in
// the record. What fails on the way leaves the record failed, with every cause;
// the other roles are put back all the same. It goes on after an interrupt, but
// not without the lock.
func (s *site) restore(ctx context.Context, rel release.Release, record release.Record, out rollout) release.Record {
	ctx, stop := s.held.Context(context.WithoutCancel(ctx))
	defer stop()
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
	s.force = true
	whole := true
	for _, name := range out.reached {
		role, had := good.Role(name)
		if !had {
			s.withdrawRole(ctx, rel, name) // it is new: there is nothing to put back
			continue
		}
		err := s.putBack(ctx, good, role)
		if ctx.Err() != nil {
			record.Reason += "; " + oneLine(context.Cause(ctx).Error())
			return record
		}
		if err != nil {
			whole = false
			record.Reason += fmt.Sprintf("; restore %s: %s", name, oneLine(err.Error()))
		}
	}
	if !whole {
		return record
	}
	// A role that the configuration no longer names was not reached, and cannot be read.
	good.Roles = slices.DeleteFunc(good.Roles, func(r release.Role) bool { return s.places[r.Name] == nil })
	if drifts := release.Compare(good, s.observe(ctx, good)); len(drifts) > 0 {
		record.Reason += "; restored, but " + drifts[0].String()
		return record
	}
	s.report(release.Event{Phase: release.PhaseRestore, Mark: release.MarkDone, Message: good.ID() + " runs again"})
	record.Outcome, record.Restored = release.Restored, good.Seq
	return record
}

// putBack makes a place run what it ran before.
func (s *site) putBack(ctx context.Context, good release.Release, role release.Role) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.target(role).Prepare(ctx, role); err != nil {
		return err
	}
	_, err := s.target(role).Switch(ctx, good, role)
	return err
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
