package deploy

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// Plan is what a release would do.
type Plan struct {
	Running  string // SHA of the last good release; "" if there is none
	Changes  []Change
	Findings []release.Finding
}

// Plan finds what a release would change and what would be refused, and changes
// nothing. unpushed says of an image's name that it is still to be pushed.
func (e Engine) Plan(ctx context.Context, rel release.Release, t Terms, unpushed map[string]bool) (Plan, error) {
	var p Plan
	rel = t.History.withRecordedFiles(rel)
	// The ledger may be out of reach: a plan may be made before the first release.
	if entry, err := e.find(ctx, t.History, newestGood()); err == nil {
		p.Running = entry.Record.SHA
	}
	found, err := e.ask(ctx, rel, true)
	if err != nil {
		return p, err
	}
	lower, _ := e.downgrade(ctx, rel, t.History) // the ledger may be out of reach
	p.Findings = slices.Concat(e.otherEnvironment(rel, t.History), lower, dropped(rel, t.History.Records(), e.Config.Keep), pullable(found.all, rel, unpushed))
	before, _ := e.runsBefore(ctx, checked{Release: rel, snapshots: found.snapshots, history: t.History}) // the comparison tells what cannot be read
	p.Findings = append(p.Findings, adoptable(before)...)
	earlier, err := e.formerRoles(ctx, t.History, math.MaxInt64)
	if err != nil {
		earlier = nil // there is no ledger yet
	}
	seen := e.compare(ctx, rel, compareOptions{snapshots: found.snapshots, formerRoles: missing(earlier, rel)})
	for _, role := range rel.Roles {
		of := seen.roles[role.Name]
		if of.Live.Unread != "" {
			return p, fmt.Errorf("compare %s: %s", role.Name, of.Live.Unread)
		}
		p.Changes, p.Findings = append(p.Changes, of.Changes...), append(p.Findings, of.Findings...)
	}
	for _, l := range seen.leftovers {
		p.Changes = append(p.Changes, Change{Role: l.role.Name, Object: "role " + l.role.Name, Action: release.ActionPruned})
	}
	p.Findings = slices.Concat(p.Findings, t.Known, e.unknownAddresses(rel, e.probeFaults(rel)), e.elsewhere(ctx, rel, t.History))
	return p, nil
}

// pullable are findings without what is said too early of images that are still to be
// pushed: that the registry does not have one; and that it denies one is a warning,
// since some registries answer so of a repository that does not exist.
func pullable(findings []release.Finding, rel release.Release, unpushed map[string]bool) []release.Finding {
	var out []release.Finding
	for _, f := range findings {
		role, _ := rel.Role(f.Role)
		switch {
		case !unpushed[role.Image]:
		case f.Code == release.CodeImageNotFound:
			continue
		case f.Code == release.CodePullDenied:
			f.Severity, f.Hint = release.Warns, "some registries answer so of a repository that does not exist yet; the release asks again once the image is pushed"
		}
		out = append(out, f)
	}
	return out
}
