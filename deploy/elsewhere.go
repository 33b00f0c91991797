package deploy

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// elsewhere finds, before the first release of a ledger, that the registry holds
// copies of records that this ledger does not have: the machine that stores the ledger
// was replaced by another one. The history would begin anew, and what runs on the
// other machine would go on beside this release.
func (e Engine) elsewhere(ctx context.Context, rel release.Release, h History) []release.Finding {
	if !e.AskRegistry || len(h.Entries) > 0 || rel.Kind == release.KindRollback {
		return nil
	}
	newest, found, err := e.Ledger.NewestCopy(ctx)
	switch {
	case err != nil:
		return []release.Finding{{Code: release.CodeRecordsElsewhere, Severity: release.Warns,
			Message: "whether there are records of this app elsewhere is not known: " + release.OneLine(err.Error())}}
	case !found:
		return nil
	}
	f := release.Finding{Code: release.CodeRecordsElsewhere, Severity: release.Warns, // of another environment
		Message: fmt.Sprintf("the registry has records of this app, up to %s, and the first host has none", newest.ID()),
		Hint: "`shipit history --from-registry` goes on with that history, and the next release takes away what runs on the former host; " +
			"for another app, or to leave that alone, allow RecordsElsewhere once"}
	if newest.Environment == e.Config.Environment {
		f.Severity = release.Refuses
	}
	return []release.Finding{f}
}
