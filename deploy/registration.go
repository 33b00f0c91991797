package deploy

import (
	"context"
	"slices"
	"sync"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// register makes a role register and returns the proof; "" if it need not.
func (e Engine) register(ctx context.Context, role release.Role, cfg config.Role) (string, error) {
	if cfg.Register == nil {
		return "", nil
	}
	proof, err := probe.Register(ctx, cfg, e.asker(role))
	if err != nil {
		return "", causeOf(ctx, err)
	}
	e.report(release.PhaseVerify, release.MarkDone, role.Name, "registered: %s", proof)
	return proof, nil
}

// registered asks the server what it has of a role; nil if it is not to be asked. That
// it could not be asked is no difference, and is told as unasked.
func (e Engine) registered(ctx context.Context, rel release.Release, role release.Role) *registration {
	cfg, ok := e.settings(rel, role)
	if !ok || cfg.Register == nil || cfg.Register.Ask == nil {
		return nil
	}
	seen, err := probe.Registered(ctx, cfg, e.asker(role))
	if err != nil {
		return &registration{unasked: release.OneLine(err.Error())}
	}
	return &registration{Registration: seen}
}

// registerAgain makes the roles that were put back register, all at once, because the
// server may have what the failed release registered. They run whether it succeeds or not.
func (e Engine) registerAgain(ctx context.Context, good release.Release, restored []release.Role) {
	var all sync.WaitGroup
	for _, role := range restored {
		cfg, ok := e.settings(good, role)
		if !ok {
			continue
		}
		all.Go(func() {
			if _, err := e.register(ctx, role, cfg); err != nil {
				e.report(release.PhaseRestore, release.MarkNote, role.Name, "runs again, and is not registered: %s", release.OneLine(err.Error()))
			}
		})
	}
	all.Wait()
}

// registration is what the server has of a role.
type registration struct {
	probe.Registration
	unasked string // why the server could not be asked
}

// proven is a registration that was proved just now; nil if there is no proof.
func proven(proof string) *registration {
	if proof == "" {
		return nil
	}
	return &registration{Registration: probe.Registration{At: proof}}
}

// withUnasked are recorded functions with the roles whose registration the server could
// not be asked for now, which is told.
func (e Engine) withUnasked(recorded *release.Functions, at map[string]*registration) *release.Functions {
	if recorded == nil {
		return nil
	}
	out := *recorded
	out.Roles = slices.Clone(out.Roles)
	for i, role := range out.Roles {
		if seen := at[role.Role]; seen != nil && seen.unasked != "" {
			out.Roles[i].Unasked = seen.unasked
			e.report(release.PhaseVerify, release.MarkNote, role.Role, "what the server has registered could not be asked: %s", seen.unasked)
		}
	}
	return &out
}

// change is what a release would change of a registration, as of any object; false if
// nothing.
func (r *registration) change(role string) (Change, bool) {
	if r == nil || r.Fault == nil {
		return Change{}, false
	}
	field := release.FieldChange{Path: "answer", Live: r.Fault.Message, Wanted: "what register.ask expects"}
	if r.Wanted != "" {
		field = release.FieldChange{Path: "url", Live: r.At, Wanted: "a URL on " + r.Wanted}
	}
	return Change{Role: role, Object: "registration at the server", Action: release.ActionConfigured, Fields: []release.FieldChange{field}}, true
}

// unknownAddresses are findings of roles that are to register though no address is known
// at which the server reaches them, in what is rolled out either. Those that the
// configuration alone tells are among told, the probeFaults.
func (e Engine) unknownAddresses(rel release.Release, told []release.Finding) []release.Finding {
	var out []release.Finding
	for _, role := range rel.Roles {
		cfg, ok := e.settings(rel, role)
		if !ok || slices.ContainsFunc(told, func(f release.Finding) bool { return f.Code == release.CodeRegistrationAddress && f.Role == role.Name }) {
			continue
		}
		if f, faulty := probe.AddressFault(cfg, e.addresses(role)); faulty {
			out = append(out, f)
		}
	}
	return out
}

// addresses are the host[:port] at which a role can be reached, the likeliest first: the
// one that the role announces, or else those of its Service or machine.
func (e Engine) addresses(role release.Role) []string {
	t, err := e.target(role)
	if err != nil {
		return nil
	}
	reach := t.Reach(role)
	if announced := probe.Announced(func(name string) string { return reach.Env[name] }); len(announced) > 0 {
		return announced
	}
	return reach.Hosts
}
