package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

// Target runs the host roles of one app, each as a service of the machine that
// the configuration names for it. Roles on one machine share a connection; one
// that was lost is made again by the next call.
type Target struct {
	app      string
	file     string // the configuration, for messages
	roles    map[string]config.Host
	first    string // the first role of a host
	machines *machines
	o        Options
}

var _ deploy.Target = (*Target)(nil)

// Open connects to every machine that cfg names for a host role, all at once. A
// machine that cannot be reached is an error that names it and the first role
// there, and has a Hint that says what to do, unless o.Partial is set.
func Open(ctx context.Context, cfg config.Config, o Options) (*Target, error) {
	t := &Target{app: cfg.App, file: cfg.Path, roles: map[string]config.Host{}, machines: newMachines(o), o: o}
	var first []string // of each machine, the first role
	seen := map[string]bool{}
	for _, r := range cfg.Roles {
		if r.Host == nil {
			continue
		}
		h := *r.Host
		h.Key, h.KnownHosts = cfg.Beside(h.Key), cfg.Beside(h.KnownHosts)
		t.roles[r.Name] = h
		if t.first == "" {
			t.first = r.Name
		}
		if key := machineKey(h); !seen[key] {
			seen[key] = true
			first = append(first, r.Name)
		}
	}
	errs := make([]error, len(first))
	var wg sync.WaitGroup
	for i, role := range first {
		wg.Go(func() {
			if _, err := t.machines.of(ctx, t.roles[role]); err != nil {
				errs[i] = fmt.Errorf("%s: %w", role, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil && !o.Partial {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// machine is the connection to the machine of a role, and what the configuration
// says of it. A role is where its record says; the configuration may have moved it.
func (t *Target) machine(ctx context.Context, role release.Role) (*machine, config.Host, error) {
	h, configured := t.roles[role.Name]
	recorded, told := t.recorded(role)
	switch {
	case !configured && !told:
		return nil, h, fmt.Errorf("%s: %s no longer names this role of a host, and its record does not tell the machine", role.Name, t.file)
	case !configured:
		h = recorded
	case told && recorded.Address != h.Address:
		recorded.Keep, recorded.Runtime = h.Keep, h.Runtime
		h = recorded
	}
	m, err := t.machines.of(ctx, h)
	var auth *authError
	switch {
	case errors.As(err, &auth) && h.Key == "":
		return nil, h, fmt.Errorf("%s: %w; load its key with ssh-add and run the command again", role.Name, err)
	case err != nil:
		return nil, h, fmt.Errorf("%s: %w", role.Name, err)
	}
	return m, h, nil
}

// recorded is the host that the role's definition tells; what it leaves out is as
// the configuration has it for another role of that machine.
func (t *Target) recorded(role release.Role) (config.Host, bool) {
	d, err := define(role)
	if err != nil || d.Address == "" {
		return config.Host{}, false
	}
	h := config.Host{Address: d.Address, Service: d.Service, Root: d.Root}
	if d.Address == release.LocalMachine {
		h.Address = ""
	}
	now := t.roles[cmp.Or(t.first, role.Name)]
	if configured, still := t.roles[role.Name]; still {
		now = configured // what is known of where it is now may do for where it was
	}
	for _, other := range t.roles {
		if other.Address == h.Address {
			now = other
		}
	}
	h.Key, h.KnownHosts = now.Key, now.KnownHosts
	return h, true
}

// Preflight reports what would keep the roles from running on their machines.
// There is no snapshot: a machine is cheap to read again.
func (t *Target) Preflight(ctx context.Context, rel release.Release, roles []release.Role, _ bool) (deploy.Preflight, error) {
	found := make([][]release.Finding, len(roles))
	errs := make([]error, len(roles))
	var wg sync.WaitGroup
	for i, role := range roles {
		wg.Go(func() {
			m, h, err := t.machine(ctx, role)
			if err == nil {
				found[i], err = m.preflight(ctx, role, needs{runtime: h.Runtime, others: otherServices(rel, role)})
			}
			errs[i] = named(role, err)
		})
	}
	wg.Wait()
	var result deploy.Preflight
	for _, f := range found {
		result.Findings = append(result.Findings, f...)
	}
	return result, errors.Join(errs...)
}

// Prepare puts the role's content on its machine, into a release directory.
func (t *Target) Prepare(ctx context.Context, role release.Role) error {
	m, _, err := t.machine(ctx, role)
	if err != nil {
		return err
	}
	return m.prepare(ctx, role, content{Layers: t.layers})
}

// Switch makes the service run the role and waits until it does. What ended the
// wait is told by the cause of ctx if that is a *release.Failure.
func (t *Target) Switch(ctx context.Context, step deploy.Step) (release.Live, error) {
	m, _, err := t.machine(ctx, step.Role)
	if err != nil {
		return release.Live{}, err
	}
	live, err := m.activate(ctx, step.Role, otherServices(step.Release, step.Role)...)
	return live, limitReached(ctx, err)
}

// otherServices are those of the release's roles but one.
func otherServices(rel release.Release, but release.Role) []string {
	var services []string
	for _, role := range rel.Roles {
		if d, err := define(role); err == nil && role.Name != but.Name && role.Target == release.TargetHost {
			services = append(services, d.Service)
		}
	}
	return services
}

// limitReached is err, or if the rollout's own limit led to it, that limit's
// *release.Failure.
func limitReached(ctx context.Context, err error) error {
	var failure *release.Failure
	if err == nil || errors.As(err, &failure) {
		return err
	}
	if errors.As(context.Cause(ctx), &failure) {
		return failure
	}
	return err
}

// Compare reads what runs for the role, as the kernel of its machine reports it. A
// service that is down is no error: the comparison says why.
func (t *Target) Compare(ctx context.Context, step deploy.Step) (deploy.Comparison, error) {
	role := step.Role
	m, h, err := t.machine(ctx, role)
	if err != nil {
		return deploy.Comparison{}, err
	}
	observed, err := m.observe(ctx, role, observing{whole: step.Whole, services: t.servicesOn(h)})
	seen := deploy.Comparison{Live: observed.Live, Present: observed.installed}
	if err != nil && !errors.As(err, &seen.Failure) {
		return deploy.Comparison{}, err
	}
	if !observed.pending {
		return seen, nil
	}
	running := observed.Digest()
	if running == "" {
		running = "nothing"
	}
	seen.Changes = []deploy.Change{{
		Role: role.Name, Object: "Service " + h.Service, Action: release.ActionSwitched,
		Fields: []release.FieldChange{{Path: "image", Live: running, Wanted: role.Digest}},
	}}
	return seen, nil
}

// servicesOn are the services of the app on the machine of h.
func (t *Target) servicesOn(h config.Host) []string {
	var services []string
	for _, other := range t.roles {
		if machineKey(other) == machineKey(h) {
			services = append(services, strings.TrimSuffix(other.Service, ".service"))
		}
	}
	return services
}

// Remove takes the role's service off its machine again, unless a role of keep is
// that service. A unit that stood there before shipit came is put back as it was.
func (t *Target) Remove(ctx context.Context, role release.Role, keep release.Release) error {
	for _, kept := range keep.Roles {
		if kept.Target != release.TargetHost {
			continue
		}
		same, err := t.sameService(ctx, role, kept)
		if same || err != nil {
			return named(role, err)
		}
	}
	m, _, err := t.machine(ctx, role)
	if err != nil {
		return err
	}
	_, stays := keep.Role(role.Name)
	return m.remove(ctx, role, stays)
}

// Undo takes the role's service off its machine again, and puts the unit back that
// stood there before shipit came.
func (t *Target) Undo(ctx context.Context, role release.Role) error {
	return t.Remove(ctx, role, release.Release{})
}

// sameService reports whether two roles are one service of one machine, by whatever
// names the machine is reached. A record that does not tell the machine is of the
// one that the configuration has for the role.
func (t *Target) sameService(ctx context.Context, a, b release.Role) (bool, error) {
	of, errA := define(a)
	as, errB := define(b)
	if errA != nil || errB != nil {
		return a.Name == b.Name, nil
	}
	if of.Service != as.Service || of.Domain != as.Domain {
		return false, nil
	}
	if of.Address == as.Address || a.Name == b.Name && (of.Address == "" || as.Address == "") {
		return true, nil
	}
	first, _, errA := t.machine(ctx, a)
	second, _, errB := t.machine(ctx, b)
	if err := errors.Join(errA, errB); err != nil {
		return false, fmt.Errorf("tell whether %s and %s are one machine: %w", of.Address, as.Address, err)
	}
	return first.id != "" && first.id == second.id, nil
}

// Prune removes the release directories that no good record names, but for the
// last few (host.keep) and those in use.
func (t *Target) Prune(ctx context.Context, role release.Role, records func() ([]release.Record, error)) error {
	m, h, err := t.machine(ctx, role)
	if err != nil {
		return err
	}
	all, err := records()
	if err != nil {
		return fmt.Errorf("%s: prune: %w", role.Name, err)
	}
	kept := keep{root: h.RootOr(t.app), newest: h.Keep}
	if kept.newest == 0 {
		kept.newest = 3
	}
	for _, r := range all {
		for _, recorded := range r.Roles {
			if r.Good() && recorded.Target == release.TargetHost {
				kept.digests = append(kept.digests, recorded.Digest)
			}
		}
	}
	removed, err := m.prune(ctx, kept)
	if len(removed) > 0 {
		short := make([]string, len(removed))
		for i, digest := range removed {
			short[i] = release.ShortDigest(digest)
		}
		t.o.Progress.Report(release.Event{
			Phase: release.PhaseRecord, Mark: release.MarkNote, Role: role.Name,
			Message: "removed from " + m.name + ": " + strings.Join(short, ", "),
		})
	}
	return err
}

// Mask hides the values of the role's environment file.
func (t *Target) Mask(ctx context.Context, role release.Role) (func(string) string, error) {
	m, _, err := t.machine(ctx, role)
	if err != nil {
		return nil, err
	}
	d, err := define(role)
	if err != nil {
		return nil, err
	}
	mask, ok := m.masking(ctx, d)
	if !ok {
		return nil, fmt.Errorf("%s: its environment file cannot be read", role.Name)
	}
	return mask, nil
}

// Do sends a request as if from the role's machine: the URL names a port of
// 127.0.0.1 there.
func (t *Target) Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error) {
	m, _, err := t.machine(ctx, role)
	if err != nil {
		return nil, err
	}
	return m.do(req.WithContext(ctx))
}

// Close ends all connections.
func (t *Target) Close() error { return t.machines.close() }

// named is err with the role's name before it; nil stays nil.
func named(role release.Role, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), role.Name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", role.Name, err)
}
