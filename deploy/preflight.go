package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
)

// Terms are what a caller asks for and allows. The zero value allows nothing.
type Terms struct {
	Allow     []release.Code    // codes of findings that do not stop the release
	NoRestore bool              // a failed rollout is left as it is, for inspection
	Record    bool              // what runs already as recorded is recorded again
	Known     []release.Finding // what is known of the release already, from its tree
	History   History           // as Read before
	Attached  map[string][]byte // attachments of the record that is rolled out again; nil: a new release
}

// checked is a release that nothing stands in the way of, with what was learnt
// on the way to know it.
type checked struct {
	Release     release.Release
	bundles     map[string][]byte // what satisfied the policy and the signature of the content; stored with the record
	snapshots   map[release.Target]Snapshot
	history     History
	formerRoles []former // what earlier releases have brought
	required    *release.Policy
	allow       []release.Code // what may be let pass by name
	allowed     []release.Code // what was
	noRestore   bool
}

// step is the switch of one role of the release that was checked.
func (c checked) step(role release.Role) Step {
	return Step{Release: c.Release, Role: role, Snapshot: c.snapshots[role.Target], Force: slices.Contains(c.allow, release.CodeFieldConflict)}
}

// preflight asks for everything that could stop a release, before the first
// write. A *release.Refusal lists what does and is not allowed.
func (e Engine) preflight(ctx context.Context, rel release.Release, t Terms) (checked, error) {
	e.report(release.PhaseCheck, release.MarkStart, "", "check what could stop %s", contentID(rel))
	required, weaker, err := e.required(t.History)
	if err != nil {
		return checked{}, err
	}
	var (
		untrusted []release.Finding
		elsewhere []release.Finding
		lower     []release.Finding
		unsigned  []release.Finding
		bundles   map[string][]byte
		signature map[string][]byte
		found     findings
		used      []release.Code
	)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { bundles, untrusted, err = e.verifyImages(gctx, rel, t.Attached); return err })
	group.Go(func() (err error) { found, err = e.ask(gctx, rel, false); return err })
	group.Go(func() error { signature, unsigned = e.signContent(gctx, rel, t.Attached); return nil })
	group.Go(func() error { elsewhere = e.elsewhere(gctx, rel, t.History); return nil })
	group.Go(func() (err error) { lower, err = e.downgrade(gctx, rel, t.History); return err })
	if err := group.Wait(); err != nil {
		return checked{}, err
	}
	maps.Copy(bundles, signature)
	out := checked{Release: rel, bundles: bundles, snapshots: found.snapshots, history: t.History, required: required, allow: t.Allow, noRestore: t.NoRestore}
	before, _ := e.runsBefore(ctx, out) // it is read again under the lock, where an error counts
	probes := e.probeFaults(rel)
	all := slices.Concat(untrusted, unsigned, weaker, lower, e.otherEnvironment(rel, t.History), elsewhere, t.Known, without(t.Known, probes), e.unknownAddresses(rel, probes), dropped(rel, t.History.Records(), e.Config.Keep), found.all, adoptable(before))
	for _, f := range all {
		allowed := isAllowed(f, t.Allow)
		if allowed {
			used = append(used, f.Code)
		}
		if f.Severity == release.Warns || allowed {
			e.report(release.PhaseCheck, release.MarkNote, "", "%s", f)
		}
	}
	if err := release.Refuse(all, t.Allow); err != nil {
		return checked{}, err
	}
	e.report(release.PhaseCheck, release.MarkDone, "", "nothing stands in the way")
	out.allowed = slices.Compact(slices.Sorted(slices.Values(used)))
	return out, nil
}

// isAllowed reports whether a finding would refuse the release and was let pass by name.
func isAllowed(f release.Finding, allow []release.Code) bool {
	return f.Severity == release.Refuses && f.Allowable() && slices.Contains(allow, f.Code)
}

// without are findings but for what is known already.
func without(known, findings []release.Finding) []release.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f release.Finding) bool {
		return slices.ContainsFunc(known, func(k release.Finding) bool { return k.Code == f.Code && k.Message == f.Message })
	})
}

// dropped are the roles of the newest record that a release lacks.
func dropped(rel release.Release, newest []release.Record, keep []string) []release.Finding {
	if len(newest) == 0 {
		return nil
	}
	var out []release.Finding
	for _, r := range newest[0].Roles {
		if _, has := rel.Role(r.Name); !has && !slices.Contains(keep, r.Name) {
			out = append(out, release.Finding{Code: release.CodeRoleDropped, Severity: release.Warns, Role: r.Name,
				Message: newest[0].ID() + " has this role and the release has not: it is taken away",
				Hint:    "name it under keep: in shipit.yaml to leave it running"})
		}
	}
	return out
}

// findings are what the targets found.
type findings struct {
	all       []release.Finding
	snapshots map[release.Target]Snapshot
}

// ask runs the preflight of every target at once.
func (e Engine) ask(ctx context.Context, rel release.Release, dryRun bool) (findings, error) {
	roles := map[release.Target][]release.Role{}
	for _, role := range rel.Roles {
		if _, err := e.target(role); err != nil {
			return findings{}, fmt.Errorf("%s: %w", contentID(rel), err)
		}
		roles[role.Target] = append(roles[role.Target], role)
	}
	names := slices.Sorted(maps.Keys(roles))
	results, errs := make([]Preflight, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i], errs[i] = e.Targets[name].Preflight(ctx, rel, roles[name], dryRun) })
	}
	wg.Wait()
	out := findings{snapshots: map[release.Target]Snapshot{}}
	if err := ledger.Fits(rel); err != nil {
		out.all = append(out.all, release.Finding{Code: release.CodeReleaseTooLarge, Severity: release.Refuses, Message: err.Error(),
			Hint: "take data out of the manifests: an image or a volume carries it better"})
	}
	for i, name := range names {
		out.all = append(out.all, results[i].Findings...)
		out.snapshots[name] = results[i].Snapshot
	}
	return out, errors.Join(errs...)
}

// contentID names a release by the record that it repeats, or by its commit.
func contentID(rel release.Release) string {
	if rel.Origin != 0 || rel.Adopted {
		rel.Seq = rel.Origin
		return rel.ID()
	}
	return release.Short(rel.SHA)
}

// verifyImages verifies every image by the policy, and collects the bundles
// that satisfy it.
func (e Engine) verifyImages(ctx context.Context, rel release.Release, stored map[string][]byte) (map[string][]byte, []release.Finding, error) {
	bundles := map[string][]byte{}
	switch {
	case e.Policy.Verify == nil:
		return bundles, nil, nil
	case rel.Adopted:
		return bundles, unsignedAdopted(rel), nil
	}
	var (
		roles []release.Role // one of each image
		seen  = map[string]bool{}
	)
	for _, role := range rel.Roles {
		if !seen[role.Digest] {
			roles = append(roles, role)
		}
		seen[role.Digest] = true
	}
	var found []release.Finding
	for i, v := range e.verifyEach(ctx, roles, stored) {
		var untrusted *UntrustedError
		switch {
		case errors.As(v.err, &untrusted):
			found = append(found, release.Finding{
				Code: release.CodeUntrusted, Severity: release.Refuses, Role: roles[i].Name, Object: roles[i].Reference(),
				Message: release.OneLine(untrusted.Error()), Hint: untrusted.Hint, Fixed: true,
			})
		case v.err != nil:
			return nil, found, v.err
		default:
			maps.Copy(bundles, v.Bundles)
		}
	}
	return bundles, found, nil
}

// verification is the outcome of verifying an image.
type verification struct {
	Verified
	err error
}

// verifyEach verifies the images of roles by the policy, all at once.
func (e Engine) verifyEach(ctx context.Context, roles []release.Role, stored map[string][]byte) []verification {
	out := make([]verification, len(roles))
	var all sync.WaitGroup
	for i, role := range roles {
		all.Go(func() { out[i].Verified, out[i].err = e.Policy.Verify(ctx, role, stored) })
	}
	all.Wait()
	return out
}
