package deploy

import (
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// otherEnvironment finds that the newest record is of another environment: the two have
// the same ledger, and so run in the same place.
func (e Engine) otherEnvironment(rel release.Release, h History) []release.Finding {
	records := h.Records()
	if rel.Kind == release.KindRollback || len(records) == 0 || records[0].Environment == e.Config.Environment {
		return nil
	}
	return []release.Finding{{Code: release.CodeOtherEnvironment, Severity: release.Refuses,
		Message: fmt.Sprintf("%s is of %s, and this release is of %s: what runs in the one would be replaced by the other",
			records[0].ID(), release.EnvironmentName(records[0].Environment), release.EnvironmentName(e.Config.Environment)),
		Hint: "give each environment a namespace of its own, or a root on its hosts, or a ledger; where it only got another name, --allow OtherEnvironment once"}}
}
