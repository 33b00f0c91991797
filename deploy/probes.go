package deploy

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// probed reports whether there is anything to ask of a role once it is ready.
func (e Engine) probed(rel release.Release, role release.Role) bool {
	cfg, ok := e.settings(rel, role)
	return ok && (len(cfg.AllProbes()) > 0 || cfg.Register != nil)
}

// probeFaults are what is wrong with what the roles of a release are asked; nothing is
// asked of what ran before the first one.
func (e Engine) probeFaults(rel release.Release) []release.Finding {
	return slices.DeleteFunc(probe.Validate(e.Config), func(f release.Finding) bool {
		_, has := rel.Role(f.Role)
		return rel.Adopted || f.Role != "" && !has
	})
}

// probe asks a role that was just switched whether it does its work, and proves
// that it registered its functions; the proof is returned. Synthetic events come
// last: none reaches a worker that has not registered.
func (e Engine) probe(ctx context.Context, role release.Role) (registered string, err error) {
	cfg, _ := e.Config.Role(role.Name)
	var requests, events []config.Probe
	for _, p := range cfg.AllProbes() {
		if p.Event != nil {
			events = append(events, p)
		} else {
			requests = append(requests, p)
		}
	}
	if err := e.runProbes(ctx, role, cfg, requests); err != nil {
		return "", err
	}
	if registered, err = e.register(ctx, role, cfg); err != nil {
		return "", err
	}
	if err := e.runProbes(ctx, role, cfg, events); err != nil {
		return "", err
	}
	if n := len(requests) + len(events); n > 0 {
		e.report(release.PhaseVerify, release.MarkDone, role.Name, "%d probe(s) hold", n)
	}
	return registered, nil
}

// asker is the way to a role, and what hides its secrets in what it says. What may
// hold them is withheld if they cannot be read.
func (e Engine) asker(role release.Role) probe.Asker {
	mask := func(ctx context.Context) func(string) string {
		if t, err := e.target(role); err == nil {
			if known, err := t.Mask(ctx, role); err == nil {
				return known
			}
		}
		return func(string) string { return "withheld: the secrets of the role cannot be read" }
	}
	return probe.Asker{Do: e.do(role), Mask: mask, Addresses: e.addresses(role)}
}

// runProbes runs probes in order, each until it holds.
func (e Engine) runProbes(ctx context.Context, role release.Role, cfg config.Role, probes []config.Probe) error {
	for _, p := range probes {
		if err := probe.Run(ctx, cfg, p, e.asker(role)); err != nil {
			return causeOf(ctx, err)
		}
	}
	return nil
}

// functions asks every role which functions it owns, all at once; nil if none answers for
// them and none is registered. registered are the registrations by role. The error names
// ids that two roles claim.
func (e Engine) functions(ctx context.Context, rel release.Release, registered map[string]*registration) (*release.Functions, error) {
	asked, errs := make([]*release.RoleFunctions, len(rel.Roles)), make([]error, len(rel.Roles))
	var all sync.WaitGroup
	for i, role := range rel.Roles {
		if cfg, ok := e.settings(rel, role); ok {
			all.Go(func() { asked[i], errs[i] = e.roleFunctions(ctx, role, cfg, registered[role.Name]) })
		}
	}
	all.Wait()
	var roles []release.RoleFunctions
	for _, owned := range asked {
		if owned != nil {
			roles = append(roles, *owned)
		}
	}
	if len(roles) == 0 {
		return nil, errors.Join(errs...)
	}
	owned := probe.Ownership(roles, e.Config.Functions.AllowDuplicates)
	return &owned, errors.Join(append(errs, probe.Disputed(owned))...)
}

// roleFunctions asks one role which functions it owns; nil if it does not answer for them
// and at, its registration, is nil.
func (e Engine) roleFunctions(ctx context.Context, role release.Role, cfg config.Role, at *registration) (*release.RoleFunctions, error) {
	owned, answers, err := probe.Functions(ctx, cfg, e.Config.Functions, e.asker(role))
	if !answers && at == nil {
		return nil, err
	}
	if owned.Role = role.Name; owned.IDs == nil {
		owned.IDs = []string{}
	}
	owned.Retire = answers && err == nil && owned.Count == 0
	if at != nil {
		owned.Registered, owned.Unasked = at.At, at.unasked
		if at.Fault != nil {
			owned.Unregistered = at.Fault.Message
		}
	}
	return &owned, err
}
