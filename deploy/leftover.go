package deploy

import (
	"context"
	"slices"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// former is a role that an earlier release brought.
type former struct {
	role   release.Role
	record release.Record
}

// formerRoles are what the releases from the newest good one before seq on have
// brought, failed ones included: what of it the ledger's next good release does
// not have is to go. Each comes with its objects.
func (e Engine) formerRoles(ctx context.Context, h History, seq int64) ([]former, error) {
	entries, err := e.sinceGood(ctx, h, seq)
	if err != nil {
		return nil, err
	}
	var out []former
	for _, entry := range entries {
		for _, role := range entry.Release().Roles {
			if !slices.Contains(e.Config.Keep, role.Name) {
				out = append(out, former{role, entry.Record})
			}
		}
	}
	return out, nil
}

// sinceGood are the entries before seq from the newest back to the newest good
// one, with that one. The whole ledger is read only if the good one is not among
// those that were read already.
func (e Engine) sinceGood(ctx context.Context, h History, seq int64) ([]ledger.Entry, error) {
	var out []ledger.Entry
	for _, entry := range h.Entries {
		if entry.Record.Seq >= seq {
			continue
		}
		if out = append(out, entry); entry.Record.Good() {
			return out, nil
		}
	}
	records, err := e.Ledger.Newest(ctx, goodBefore(seq).made)
	if err != nil {
		return nil, err
	}
	out = nil
	for _, record := range records {
		if record.Seq >= seq {
			continue
		}
		entry, err := e.Ledger.Read(ctx, record.Seq)
		if err != nil {
			continue // an altered record cannot say what it brought
		}
		if out = append(out, entry); record.Good() {
			break
		}
	}
	return out, nil
}

// missing are the former roles that a release does not have by name.
func missing(earlier []former, rel release.Release) []former {
	seen := map[string]bool{}
	var out []former
	for _, f := range earlier {
		if _, has := rel.Role(f.role.Name); has || seen[f.role.Name] {
			continue
		}
		seen[f.role.Name] = true
		out = append(out, f)
	}
	return out
}

// removeFormerRoles takes away what earlier releases have brought and the release
// does not have: roles that are gone, and what a role had elsewhere. It returns
// what could not be taken away.
func (e Engine) removeFormerRoles(ctx context.Context, earlier []former, rel release.Release) []string {
	var faults []string
	for _, f := range earlier {
		t, err := e.target(f.role)
		if err == nil {
			err = t.Remove(ctx, f.role, rel)
		}
		if err != nil {
			faults = append(faults, "remove "+f.role.Name+" of "+f.record.ID()+": "+release.OneLine(err.Error()))
		}
	}
	return faults
}
