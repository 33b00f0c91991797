package deploy

import (
	"context"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// restore rolls the last good release out again, role by role, and says so in
// the record. What fails on the way leaves the record failed, with every cause;
// the other roles are put back all the same. It goes on after an interrupt, but
// not without the lock. It returns the release that runs again as well.
func (e Engine) restore(ctx context.Context, begun ledger.Begun, c Checked, record release.Record, out rollout) (release.Record, release.Release) {
	ctx, stop := begun.Lock.Context(context.WithoutCancel(ctx))
	defer stop()
	// The evidence is kept first: this run may be killed while it puts things back.
	if _, err := e.Ledger.Note(ctx, begun, record); err != nil {
		e.report(release.PhaseRecord, release.MarkNote, "", "%s", release.OneLine(err.Error()))
	}
	record.Outcome = release.Failed
	good, found, err := e.lastGood(ctx, c.history, c.Release.Seq)
	switch {
	case err != nil:
		record.Reason += "; read the last good release: " + release.OneLine(err.Error())
		return record, good
	case !found:
		record.Reason += "; there is no earlier good release to restore"
		for _, fault := range e.putServicesBack(ctx, c.Release, record, out.begun) {
			record.Reason += "; " + fault
		}
		return record, good
	}
	e.report(release.PhaseRestore, release.MarkStart, "", "restore %s", good.ID())
	faults := e.putAllBack(ctx, good, out.begun)
	if ctx.Err() == nil {
		faults = append(faults, e.removeFormer(ctx, append(rolesOf(c.Release, record), c.earlier...), good)...)
	}
	if ctx.Err() != nil {
		faults = append(faults, release.OneLine(context.Cause(ctx).Error()))
	}
	if len(faults) == 0 {
		faults = e.stillDiffers(ctx, good)
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

// putServicesBack takes the services of a first release away that were begun on
// machines: there is one service of a name, and what stood there before is put
// back. In a cluster the pods of a first release that failed stay: they are its
// evidence.
func (e Engine) putServicesBack(ctx context.Context, rel release.Release, record release.Record, begun []string) []string {
	onHosts := slices.DeleteFunc(rolesOf(rel, record), func(f former) bool {
		return f.role.Target != release.TargetHost || !slices.Contains(begun, f.role.Name)
	})
	return e.removeFormer(ctx, onHosts, release.Release{})
}

// putAllBack puts every role that was begun back to what the good release has. It
// returns what went wrong, and stops when the lock is lost.
func (e Engine) putAllBack(ctx context.Context, good release.Release, begun []string) []string {
	var faults []string
	for _, name := range begun {
		role, had := good.Role(name)
		if !had {
			continue // only the failed release has it: it is taken away
		}
		err := e.putBack(ctx, good, role)
		if ctx.Err() != nil {
			return faults
		}
		if err != nil {
			faults = append(faults, fmt.Sprintf("restore %s: %s", name, release.OneLine(err.Error())))
		}
	}
	return faults
}

// stillDiffers is the first difference from the good release that is left.
func (e Engine) stillDiffers(ctx context.Context, good release.Release) []string {
	// A role that was not begun may run where no connection is known to.
	good.Roles = slices.DeleteFunc(slices.Clone(good.Roles), func(r release.Role) bool { _, err := e.target(r); return err != nil })
	seen := e.compare(ctx, good, comparing{})
	if drifts := append(release.Compare(good, seen.live()), seen.objectDrifts()...); len(drifts) > 0 {
		return []string{"restored, but " + drifts[0].String()}
	}
	return nil
}

// putBack makes a role run what it ran before, within the limit of a rollout.
func (e Engine) putBack(ctx context.Context, good release.Release, role release.Role) error {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	t, err := e.target(role)
	if err != nil {
		return err
	}
	if err := t.Prepare(ctx, role); err != nil {
		return err
	}
	_, err = t.Switch(ctx, Step{Release: good, Role: role, Force: true})
	return err
}

// rolesOf are the roles of a release that is under way.
func rolesOf(rel release.Release, record release.Record) []former {
	var out []former
	for _, role := range rel.Roles {
		out = append(out, former{role, record})
	}
	return out
}

// tellRestored says of every role what runs again: the release of the record does
// not, so none is in parity.
func tellRestored(record release.Record, good release.Release) release.Record {
	for i, r := range record.Roles {
		record.Roles[i].InParity = false
		if _, had := good.Role(r.Name); !had {
			record.Roles[i].Reason = "taken away: " + good.ID() + " does not have it"
		} else if r.InParity {
			record.Roles[i].Reason = good.ID() + " runs again"
		}
	}
	return record
}
