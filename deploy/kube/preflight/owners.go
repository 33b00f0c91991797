package preflight

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// owners checks that no object of the release belongs to another app, or to what
// another tool deploys: the two would overwrite each other, and delete what the other
// needs.
func (r *run) owners(context.Context) error {
	for _, role := range r.roles {
		state, err := role.state()
		if err != nil {
			return err
		}
		for id, other := range state.Inventory.Others {
			if owner := state.Set.Owner(other.Live); owner != "" {
				r.found(release.Finding{Code: release.CodeForeignObject, Severity: release.Refuses, Role: role.Name, Object: id.String(),
					Message: "it belongs to " + owner,
					Hint:    "give it another name or take it out of the manifests; --allow ForeignObject takes it over for good"})
			}
		}
	}
	return nil
}
