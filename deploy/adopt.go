package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Adoption is what runs already in place of a role that is about to be released for the
// first time.
type Adoption struct {
	Found bool         // there is something of it
	Role  release.Role // it as it was found, ready to be switched to
	Live  release.Live
	Left  []string // what of it cannot be put back, each in a few words

	Findings []release.Finding // why it should not be recorded as it is
}

// runsBefore reads what runs already where the roles of a first release are to run. It is
// nil if nothing does, or if this is not a first release.
func (e Engine) runsBefore(ctx context.Context, c checked) ([]Adoption, error) {
	if len(c.history.Entries) > 0 {
		return nil, nil
	}
	found := make([]Adoption, len(c.Release.Roles))
	group, gctx := errgroup.WithContext(ctx)
	for i, role := range c.Release.Roles {
		group.Go(func() error {
			t, err := e.target(role)
			if err == nil {
				found[i], err = t.Adopt(gctx, c.step(role))
			}
			if err != nil {
				return fmt.Errorf("read what runs before the first release: %w", roleError(role, err))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(a Adoption) bool { return !a.Found }), nil
}

// adopt reads, before the first change of a first release, what runs already: that
// becomes #0, to which a failed first release and a rollback can go back. It is nil if
// nothing runs there, or if this is not a first release.
func (e Engine) adopt(ctx context.Context, c checked) (*ledger.Adopted, error) {
	found, err := e.runsBefore(ctx, c)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if err := release.Refuse(adoptable(found), c.allow); err != nil {
		return nil, err
	}
	return e.adopted(ctx, found)
}

// adoptable are the findings of what runs before a first release.
func adoptable(found []Adoption) []release.Finding {
	var out []release.Finding
	for _, a := range found {
		out = append(out, a.Findings...)
	}
	return out
}

// adopted is the record #0 of what was found. Where a policy verifies, one that is not
// signed could not be gone back to: that is an error.
func (e Engine) adopted(ctx context.Context, found []Adoption) (*ledger.Adopted, error) {
	rel := release.Release{App: e.Config.App, Kind: release.KindRelease, Adopted: true}
	live, left := map[string]release.Live{}, map[string][]string{}
	var names []string
	for _, a := range found {
		rel.Roles = append(rel.Roles, a.Role)
		live[a.Role.Name], left[a.Role.Name] = a.Live, a.Left
		names = append(names, a.Role.Name)
		for _, what := range a.Left {
			e.report(release.PhaseRecord, release.MarkNote, a.Role.Name, "not kept of what runs before: %s", what)
		}
	}
	record := release.Adopt(rel, live, time.Now())
	for i, r := range record.Roles {
		told := slices.DeleteFunc([]string{r.Reason, notKept(left[r.Name])}, func(s string) bool { return s == "" })
		record.Roles[i].Reason = strings.Join(told, "; ")
	}
	signature, err := e.Ledger.SignContent(ctx, rel, nil)
	switch {
	case err != nil && e.Policy.Verify != nil:
		return nil, fmt.Errorf("what runs before the first release: %w", err)
	case err != nil: // the preflight has said that the signer is away
		e.report(release.PhaseRecord, release.MarkNote, "", "#0 is not signed: %s", release.OneLine(err.Error()))
	}
	e.report(release.PhaseRecord, release.MarkNote, "", "what runs already is recorded as #0: %s", strings.Join(names, ", "))
	return &ledger.Adopted{Record: record, Roles: rel.Roles, Attachments: signature}, nil
}

func notKept(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return "not kept: " + strings.Join(left, ", ")
}

// unsignedAdopted is the finding that what ran before the first release is rolled out
// where a policy requires signatures: it was never built by shipit.
func unsignedAdopted(rel release.Release) []release.Finding {
	return []release.Finding{{Code: release.CodeAdoptedUnsigned, Severity: release.Refuses, Object: contentID(rel),
		Message: "it ran before the first release, nobody signed its images, and the policy requires signatures",
		Hint:    "accept it with --allow " + string(release.CodeAdoptedUnsigned) + ", which is recorded"}}
}

// putBackUnready puts back what ran before a first release that failed, where that was
// not good itself. It returns what is to be said of it; false if nothing ran before.
func (e Engine) putBackUnready(ctx context.Context, c checked, failed release.Record, switched []string) (told []string, ran bool) {
	entry, err := e.Ledger.Read(ctx, 0)
	var none *ledger.MissingError
	switch {
	case errors.As(err, &none):
		return nil, false
	case err != nil:
		return []string{"cannot read what ran before: " + release.OneLine(err.Error())}, true
	}
	before := entry.Release()
	_, faults := e.restoreRoles(ctx, before, switched)
	if ctx.Err() != nil { // another run may hold the lock by now
		return append(faults, release.OneLine(context.Cause(ctx).Error())), true
	}
	faults = append(faults, e.removeFormerRoles(ctx, asFormer(c.Release, failed), before)...)
	if len(faults) > 0 {
		return append([]string{"what ran before was not ready, and is not all as it was"}, faults...), true
	}
	return []string{"what ran before was not ready, and is put back as it was"}, true
}
