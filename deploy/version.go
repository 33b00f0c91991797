package deploy

import (
	"context"
	"slices"

	"github.com/joelhooks/shipit/release"
)

// downgrade finds that the version of a release is lower than that of the newest good
// record. A rollback is none: to go back is what it is for.
func (e Engine) downgrade(ctx context.Context, rel release.Release, h History) ([]release.Finding, error) {
	if rel.Kind == release.KindRollback || rel.Version == "" || len(h.Entries) == 0 {
		return nil, nil
	}
	newest, found := release.Current(h.Records())
	if !found {
		records, err := e.Ledger.Newest(ctx, holdsGood)
		if err != nil {
			return nil, err
		}
		newest, _ = release.Current(records) // without one there is no version to be lower than
	}
	return release.Downgrade(rel.Version, newest), nil
}

// reread is the checked release after another run may have written since the preflight:
// what that run has recorded counts, and what was read before it does not.
func (e Engine) reread(ctx context.Context, c checked) (checked, error) {
	var err error
	c.snapshots = nil
	if c.history, err = e.Read(ctx); err != nil {
		return c, err
	}
	lower, err := e.downgrade(ctx, c.Release, c.history)
	if err != nil {
		return c, err
	}
	found := append(lower, e.otherEnvironment(c.Release, c.history)...)
	for _, f := range found {
		if isAllowed(f, c.allow) {
			c.allowed = append(slices.Clone(c.allowed), f.Code)
		}
	}
	c.allowed = slices.Compact(slices.Sorted(slices.Values(c.allowed)))
	return c, release.Refuse(found, c.allow)
}
