package deploy

import (
	"context"
	"fmt"
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
	// The ledger may be out of reach: a plan may be made before the first release.
	if entry, err := e.find(ctx, t.History, current); err == nil {
		p.Running = entry.Record.SHA
	}
	found, err := e.ask(ctx, rel, true)
	if err != nil {
		return p, err
	}
	absent := func(f release.Finding) bool {
		role, _ := rel.Role(f.Role)
		return f.Code == release.CodeImageNotFound && unpushed[role.Image]
	}
	p.Findings = append(dropped(rel, t.History.records()), slices.DeleteFunc(found.all, absent)...)
	for _, role := range rel.Roles {
		step := Step{Release: rel, Role: role, Snapshot: found.snapshots[role.Target]}
		changes, findings, err := e.Targets[role.Target].Diff(ctx, step)
		if err != nil {
			return p, fmt.Errorf("compare %s: %w", role.Name, err)
		}
		p.Changes, p.Findings = append(p.Changes, changes...), append(p.Findings, findings...)
	}
	p.Findings = append(p.Findings, t.Known...)
	return p, nil
}
