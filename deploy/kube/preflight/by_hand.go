package preflight

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/deploy/kube/object"
	"github.com/joelhooks/shipit/release"
)

// updatesByHand warns of workloads whose update strategy leaves pods as they are until
// somebody deletes them: no rollout can wait for that.
func (r *run) updatesByHand(context.Context) error {
	for _, role := range r.roles {
		state, err := role.state()
		if err != nil {
			return err
		}
		for _, w := range role.workloads {
			byHand := object.UpdateByHand(w.Body)
			if byHand == "" || state.Live(w.ID) == nil {
				continue // its first pods are all of the present revision
			}
			r.found(release.Finding{Code: release.CodeUpdateByHand, Severity: release.Warns, Role: role.Name, Object: w.ID.String(),
				Message: fmt.Sprintf("%s: a change of its pods cannot be waited for, and the release is not in parity before they are of its revision", byHand),
				Hint:    "delete the pods when it suits, and release again; or let them be replaced (type: RollingUpdate, no partition)"})
		}
	}
	return nil
}
