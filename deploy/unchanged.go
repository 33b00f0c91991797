package deploy

import (
	"context"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// alreadyRunning finds whether a release runs already, just as the newest record tells
// it, and nobody is about to change that. The record is returned with what was
// seen. Nothing is written.
func (e Engine) alreadyRunning(ctx context.Context, rel release.Release, t Terms) (release.Record, bool) {
	if t.Record || rel.Kind == release.KindRollback || len(t.History.Entries) == 0 || !t.History.Free() {
		return release.Record{}, false
	}
	entry := t.History.Entries[0]
	if !records(entry, rel) || entry.Record.Environment != e.Config.Environment || release.Refuse(t.Known, t.Allow) != nil || e.Ledger.Trust(ctx, entry) != nil {
		return release.Record{}, false
	}
	if _, untrusted, err := e.verifyImages(ctx, rel, nil); err != nil || len(untrusted) > 0 {
		return release.Record{}, false // the preflight says why
	}
	seen := e.compare(ctx, rel, compareOptions{})
	record := seen.applyTo(entry.Record, nil)
	if !record.Parity {
		return release.Record{}, false
	}
	record.Unchanged, record.Functions = true, e.withUnasked(record.Functions, seen.registrations)
	e.report(release.PhaseVerify, release.MarkDone, "", "%s runs already, as recorded", record.ID())
	return record, true
}

// records reports whether an entry is the sealed record of a good release of just
// this content.
func records(entry ledger.Entry, rel release.Release) bool {
	recorded := entry.Release()
	if !entry.Sealed || !entry.Record.Good() || recorded.SHA != rel.SHA || recorded.Version != rel.Version || len(recorded.Roles) != len(rel.Roles) {
		return false
	}
	for i, role := range recorded.Roles {
		if role.Name != rel.Roles[i].Name || role.Target != rel.Roles[i].Target || role.Reference() != rel.Roles[i].Reference() {
			return false
		}
	}
	return recorded.ObjectsHash() == rel.ObjectsHash()
}
