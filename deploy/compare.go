package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/joelhooks/shipit/release"
)

// compareLimit is the time limit for reading all roles.
const compareLimit = 30 * time.Second

// releaseComparison is the difference between what runs and a release, by role. The plan,
// the status and the end of a rollout are all made from it.
type releaseComparison struct {
	release       release.Release
	roles         map[string]Comparison
	registrations map[string]*registration // what the server has, of roles where it is asked
	leftovers     []leftover               // what earlier releases brought and this one does not have
}

// leftover is a role of an earlier release that is still there.
type leftover struct {
	role release.Role
	from release.Record
	seen Comparison
}

// compareOptions are the rare settings of a comparison; the zero value works.
type compareOptions struct {
	snapshots   map[release.Target]Snapshot
	formerRoles []former // roles of earlier releases that the release does not have
	fullContent bool     // content is read byte by byte
	ownObjects  bool     // only what the release consists of, not what a server has of it
}

// compare asks every role of the release, and those of earlier releases that it
// does not have, all at once. A role that cannot be read is no error: its Live
// says why.
func (e Engine) compare(ctx context.Context, rel release.Release, with compareOptions) releaseComparison {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	out := releaseComparison{release: rel, roles: map[string]Comparison{}, registrations: map[string]*registration{}}
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for _, role := range rel.Roles {
		wg.Go(func() {
			seen := e.compareRole(ctx, Step{Release: rel, Role: role, Snapshot: with.snapshots[role.Target], Whole: with.fullContent})
			var at *registration
			// What does not run cannot say what it should have registered.
			if !with.ownObjects && seen.Live.Ready > 0 {
				at = e.registered(ctx, rel, role)
			}
			if change, differs := at.change(role.Name); differs {
				seen.Changes = append(seen.Changes, change)
			}
			mu.Lock()
			defer mu.Unlock()
			out.roles[role.Name], out.registrations[role.Name] = seen, at
		})
	}
	for _, f := range with.formerRoles {
		wg.Go(func() {
			seen := e.compareRole(ctx, Step{Release: f.record.Release(nil), Role: f.role})
			mu.Lock()
			defer mu.Unlock()
			if seen.Present || seen.Live.Unread != "" {
				out.leftovers = append(out.leftovers, leftover{f.role, f.record, seen})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(out.leftovers, func(a, b leftover) int { return strings.Compare(a.role.Name, b.role.Name) })
	return out
}

func (e Engine) compareRole(ctx context.Context, step Step) Comparison {
	t, err := e.target(step.Role)
	if err != nil {
		return Comparison{Live: release.Live{Unread: err.Error()}}
	}
	seen, err := t.Compare(ctx, step)
	if err != nil {
		return Comparison{Live: release.Live{Unread: release.OneLine(err.Error())}}
	}
	return seen
}

// live is what runs, by role.
func (c releaseComparison) live() map[string]release.Live {
	live := map[string]release.Live{}
	for name, seen := range c.roles {
		live[name] = seen.Live
	}
	return live
}

// liveOf is what runs for a role, be it one that only an earlier release has.
func (c releaseComparison) liveOf(role string) release.Live {
	if seen, ok := c.roles[role]; ok {
		return seen.Live
	}
	for _, l := range c.leftovers {
		if l.role.Name == role {
			return l.seen.Live
		}
	}
	return release.Live{}
}

// otherDrifts are the differences that are not those of images: of objects, and
// of roles that only an earlier release has.
func (c releaseComparison) otherDrifts() []release.Drift {
	var out []release.Drift
	for _, role := range c.release.Roles {
		for _, change := range c.roles[role.Name].Changes {
			if change.Action != release.ActionSwitched {
				out = append(out, driftsOf(role, change)...)
			}
		}
	}
	for _, l := range c.leftovers {
		d := release.Drift{Role: l.role.Name, Kind: release.DriftForeign, Wanted: "nothing", Live: l.seen.Live.Digest(),
			Detail: "left over from " + l.from.ID() + ", not part of this release"}
		if l.seen.Live.Unread != "" {
			d.Kind, d.Live, d.Detail = release.DriftUnknown, "unknown", d.Detail+": "+l.seen.Live.Unread
		} else if d.Live == "" {
			d.Live = fmt.Sprintf("%d/%d ready", l.seen.Live.Ready, l.seen.Live.Desired)
		}
		out = append(out, d)
	}
	return out
}

// failures are why roles are down, where that is known.
func (c releaseComparison) failures() []*release.Failure {
	var out []*release.Failure
	for _, role := range c.release.Roles {
		if f := c.roles[role.Name].Failure; f != nil {
			out = append(out, f)
		}
	}
	return out
}

// driftsOf are the differences in one object, one a field where the target names
// fields.
func driftsOf(role release.Role, change Change) []release.Drift {
	drift := release.Drift{Role: role.Name, Kind: release.DriftObject, Wanted: "there", Live: "there", Detail: change.Object}
	switch {
	case change.Action == release.ActionCreated:
		drift.Live = "nothing"
	case change.Action == release.ActionPruned:
		drift.Wanted = "nothing"
	case len(change.Fields) > 0:
		return fieldDrifts(drift, change.Fields)
	default:
		drift.Live = "not as released"
	}
	return []release.Drift{drift}
}

// fieldDrifts are the differences of an object, one a field.
func fieldDrifts(object release.Drift, fields []release.FieldChange) []release.Drift {
	var out []release.Drift
	for _, f := range fields {
		drift := object
		drift.Wanted, drift.Live = cmp.Or(f.Wanted, "nothing"), cmp.Or(f.Live, "nothing")
		drift.Detail += ": " + f.Path
		out = append(out, drift)
	}
	return out
}

// applyTo writes the comparison into a record. Roles that only an earlier
// release has get a line of their own.
func (c releaseComparison) applyTo(record release.Record, shaOf func(role, digest string) string) release.Record {
	record = record.Observe(c.release, c.live(), c.otherDrifts(), shaOf)
	for _, l := range c.leftovers {
		record.Roles = append(record.Roles, release.RoleRecord{
			Name: l.role.Name, Target: l.role.Target, Image: l.role.Image, Repository: l.role.Repository,
			LiveDigest: l.seen.Live.Digest(), LiveSHA: l.from.SHA, Ready: l.seen.Live.Ready, Desired: l.seen.Live.Desired,
			Reason: "left over from " + l.from.ID(),
		})
	}
	return record
}
