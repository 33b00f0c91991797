package deploy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// RepairError says that a role could not be put back as it was recorded. Those before it
// in Repaired are.
type RepairError struct {
	Repaired []string
	Err      error
}

func (e *RepairError) Error() string { return "repair: " + e.Err.Error() }
func (e *RepairError) Unwrap() error { return e.Err }

// Repair puts back what differs from the release that should be running, and nothing
// else: the roles that are not in parity, as the record has them, under the lock. What
// later releases that failed have left behind is taken away. No record is written: what
// should run is what ran. It returns the status after it, with the roles that were
// repaired; a *RepairError says that one could not be, an *UnchangedError that nothing
// was changed.
func (e Engine) Repair(ctx context.Context, t Terms) (Status, error) {
	lock, err := e.Ledger.Lock(ctx, e.Lock)
	if err != nil {
		return Status{}, Unchanged(err)
	}
	defer e.unlock(lock)
	ctx, stop := lock.Context(ctx)
	defer stop()
	damaged, err := e.damage(ctx)
	if err != nil {
		return Status{}, Unchanged(err)
	}
	if len(damaged.roles)+len(damaged.leftovers) > 0 {
		if err := e.mayRepair(ctx, damaged, t); err != nil {
			return Status{}, Unchanged(err)
		}
	}
	step := Step{Release: damaged.release, Force: slices.Contains(t.Allow, release.CodeFieldConflict)}
	repaired, err := e.repairRoles(ctx, step, damaged.roles)
	if err != nil {
		return Status{}, &RepairError{Repaired: repaired, Err: err}
	}
	if faults := e.removeFormerRoles(ctx, damaged.leftovers, damaged.release); len(faults) > 0 {
		return Status{}, &RepairError{Repaired: repaired, Err: errors.New(faults[0])}
	}
	status, err := e.Status(ctx)
	status.Repaired = repaired
	return status, err
}

// damage is what differs from the release that should be running.
type damage struct {
	release   release.Release
	attached  map[string][]byte // attachments of its record
	roles     []release.Role    // that are not in parity
	leftovers []former          // what later releases have left
}

// damage compares what runs, byte by byte, with the newest good record, which must be
// what was stored.
func (e Engine) damage(ctx context.Context) (damage, error) {
	history, err := e.Read(ctx)
	if err != nil {
		return damage{}, err
	}
	entry, err := e.find(ctx, history, newestGood())
	var none *release.NoneError
	switch {
	case errors.As(err, &none) && len(history.Entries) == 0:
		return damage{}, &NothingReleasedError{}
	case errors.As(err, &none):
		return damage{}, &NothingGoodError{}
	case err != nil:
		return damage{}, err
	}
	later, err := e.formerRoles(ctx, history, math.MaxInt64)
	if err != nil {
		return damage{}, err
	}
	later = slices.DeleteFunc(later, func(f former) bool { return f.record.Seq <= entry.Record.Seq })
	out := damage{release: entry.Release(), attached: entry.Attachments}
	seen := e.compare(ctx, out.release, compareOptions{formerRoles: missing(later, out.release), fullContent: true})
	record := seen.applyTo(entry.Record, nil)
	for i, role := range out.release.Roles {
		if !record.Roles[i].InParity {
			out.roles = append(out.roles, role)
		}
	}
	if len(seen.leftovers) > 0 {
		out.leftovers = later
	}
	return out, nil
}

// mayRepair asks for what could stop a repair, before the first write: the policy of the
// images, the targets, and what is wrong with the probes. A *release.Refusal lists what does and is not allowed.
func (e Engine) mayRepair(ctx context.Context, d damage, t Terms) error {
	_, untrusted, err := e.verifyImages(ctx, d.release, d.attached)
	if err != nil {
		return err
	}
	found, err := e.ask(ctx, d.release, false)
	if err != nil {
		return err
	}
	isDamaged := func(name string) bool {
		return slices.ContainsFunc(d.roles, func(r release.Role) bool { return r.Name == name })
	}
	all := slices.Concat(untrusted, e.probeFaults(d.release), found.all)
	all = slices.DeleteFunc(all, func(f release.Finding) bool { return f.Role != "" && !isDamaged(f.Role) })
	for _, f := range all {
		if f.Severity == release.Warns {
			e.report(release.PhaseCheck, release.MarkNote, f.Role, "%s", f)
		}
	}
	return release.Refuse(all, t.Allow)
}

// repairRoles puts roles back in order, and asks each whether it does its work; all are
// prepared at once. It returns those that were put back, and stops at the first error.
func (e Engine) repairRoles(ctx context.Context, step Step, roles []release.Role) (repaired []string, err error) {
	preparing := e.startPreparing(ctx, roles)
	defer preparing.stop()
	for i, role := range roles {
		e.report(release.PhaseRestore, release.MarkStart, role.Name, "repair %s: put %s back", role.Name, step.Release.ID())
		step.Role = role
		err := e.putBack(ctx, step, preparing.roles[i])
		if err == nil {
			err = e.probeRepaired(ctx, step)
		}
		if err != nil {
			return repaired, roleError(role, err)
		}
		repaired = append(repaired, role.Name)
	}
	return repaired, nil
}

// probeRepaired asks a role that was put back whether it does its work, within the time
// limit of a rollout.
func (e Engine) probeRepaired(ctx context.Context, step Step) error {
	if !e.probed(step.Release, step.Role) {
		return nil
	}
	ctx, cancel := e.limited(ctx)
	defer cancel()
	if _, err := e.probe(ctx, step.Role); err != nil {
		return fmt.Errorf("is as recorded, and does not do its work: %w", err)
	}
	return nil
}
