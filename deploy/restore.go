package deploy

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// restore rolls out the last good release again and notes the result in the
// record. A role that cannot be restored leaves the outcome failed, with every
// cause; the other roles are restored all the same. It goes on after an interrupt,
// but stops when the lock is lost. It also returns the release that runs again.
func (e Engine) restore(ctx context.Context, begun ledger.Begun, c checked, record release.Record, out rollout) (release.Record, release.Release) {
	ctx, stop := begun.Lock.Context(context.WithoutCancel(ctx))
	defer stop()
	// The evidence is written first: this run may be killed during the restore.
	if _, err := e.Ledger.Note(ctx, begun, record); err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "%s", release.OneLine(err.Error()))
	}
	record.Outcome = release.Failed
	good, found, err := e.lastGood(ctx, c.history, c.Release.Seq)
	switch {
	case err != nil:
		record.Reason += "; cannot read the last good release: " + release.OneLine(err.Error())
		return record, good
	case !found:
		record.Reason += "; there is no earlier good release to restore"
		told, ran := e.putBackUnready(ctx, c, record, out.switched)
		if !ran {
			told = e.undoFirstRelease(ctx, c.Release, out.switched)
		}
		for _, fault := range told {
			record.Reason += "; " + fault
		}
		return record, good
	}
	e.report(release.PhaseRestore, release.MarkStart, "", "restore %s", good.ID())
	restored, faults := e.restoreRoles(ctx, good, out.switched)
	if ctx.Err() == nil {
		// What the failed release brought goes too, where the good release does not have it.
		candidates := append(asFormer(c.Release, record), c.formerRoles...)
		faults = append(faults, e.removeFormerRoles(ctx, candidates, good)...)
		e.registerAgain(ctx, good, restored)
	}
	if ctx.Err() != nil {
		faults = append(faults, release.OneLine(context.Cause(ctx).Error()))
	}
	if len(faults) == 0 {
		faults = e.verifyRestored(ctx, good)
	}
	for _, fault := range faults {
		record.Reason += "; " + fault
	}
	if len(faults) == 0 {
		e.report(release.PhaseRestore, release.MarkDone, "", "%s runs again", good.ID())
		record.Outcome, record.Restored = release.Restored, good.Seq
	}
	return record, good
}

// undoFirstRelease takes back the switches of a first release that failed, all at once. It
// returns what could not be taken back.
func (e Engine) undoFirstRelease(ctx context.Context, rel release.Release, switched []string) []string {
	faults := make([]string, len(switched))
	var all sync.WaitGroup
	for i, name := range switched {
		all.Go(func() {
			role, _ := rel.Role(name)
			t, err := e.target(role)
			if err == nil {
				err = t.Undo(ctx, role)
			}
			if err != nil {
				faults[i] = fmt.Sprintf("undo %s: %s", name, release.OneLine(err.Error()))
			}
		})
	}
	all.Wait()
	return slices.DeleteFunc(faults, func(fault string) bool { return fault == "" })
}

// restoreRoles switches every role that was begun back to the good release, in order; all
// are prepared at once. It returns the roles that run again and what went wrong, and stops
// when the lock is lost.
func (e Engine) restoreRoles(ctx context.Context, good release.Release, switched []string) (restored []release.Role, faults []string) {
	var roles []release.Role
	for _, name := range switched {
		if role, had := good.Role(name); had { // restore removes what the good release does not have
			roles = append(roles, role)
		}
	}
	preparing := e.startPreparing(ctx, roles)
	defer preparing.stop()
	for i, role := range roles {
		err := e.putBack(ctx, Step{Release: good, Role: role, Force: true}, preparing.roles[i])
		switch {
		case ctx.Err() != nil:
			return restored, faults
		case err != nil:
			faults = append(faults, fmt.Sprintf("restore %s: %s", role.Name, release.OneLine(err.Error())))
		default:
			restored = append(restored, role)
		}
	}
	return restored, faults
}

// verifyRestored returns the first difference from the good release that remains in what
// runs; what a server has registered is told by the status.
func (e Engine) verifyRestored(ctx context.Context, good release.Release) []string {
	// A role that was never switched may run on a target that is not connected.
	good.Roles = slices.DeleteFunc(slices.Clone(good.Roles), func(r release.Role) bool { _, err := e.target(r); return err != nil })
	seen := e.compare(ctx, good, compareOptions{ownObjects: true})
	for name, role := range seen.roles {
		if role.Live.Ready >= role.Live.Desired {
			role.Live.Unsteady = "" // a restart before the release does not count against the restore
			seen.roles[name] = role
		}
	}
	if drifts := append(release.Compare(good, seen.live()), seen.otherDrifts()...); len(drifts) > 0 {
		return []string{"restored, but " + drifts[0].String()}
	}
	return nil
}

// asFormer are the roles of the release under way as former ones, to be removed.
func asFormer(rel release.Release, record release.Record) []former {
	var out []former
	for _, role := range rel.Roles {
		out = append(out, former{role, record})
	}
	return out
}

// describeRestored says of every role what runs again. The failed release does not run,
// so no role is in parity.
func describeRestored(record release.Record, good release.Release) release.Record {
	for i, r := range record.Roles {
		record.Roles[i].InParity = false
		if _, had := good.Role(r.Name); !had {
			record.Roles[i].Reason = "removed: not part of " + good.ID()
		} else if r.InParity {
			record.Roles[i].Reason = good.ID() + " runs again"
		}
	}
	return record
}
