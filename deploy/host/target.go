package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/machine"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

var _ deploy.Target = (*Target)(nil)

// defaultKeep is how many releases a machine keeps beside the good ones if host.keep is
// not set.
const defaultKeep = 3

// Preflight reports what would keep the roles from running on their machines.
// There is no snapshot: a machine is cheap to read again.
func (t *Target) Preflight(ctx context.Context, rel release.Release, roles []release.Role, _ bool) (deploy.Preflight, error) {
	found := make([][]release.Finding, len(roles))
	errs := make([]error, len(roles))
	var wg sync.WaitGroup
	for i, role := range roles {
		wg.Go(func() {
			r, h, err := t.runner(ctx, role)
			if err == nil {
				found[i], err = r.preflight(ctx, role, needs{
					runtime: h.Runtime, others: otherServices(rel, role), image: role.Reference(), platforms: t.o.Platforms,
					services: t.servicesOn(h), bans: t.bans,
				})
			}
			errs[i] = withRole(role, err)
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
func (t *Target) Prepare(ctx context.Context, role release.Role) (release.Role, error) {
	r, _, err := t.runner(ctx, role)
	if err != nil {
		return role, err
	}
	return r.prepare(ctx, role, t.trees.Open)
}

// Switch makes the service run the role and waits until it does. If ctx ends the wait and
// its cause is a *release.Failure, that is the error.
func (t *Target) Switch(ctx context.Context, step deploy.Step) (release.Live, error) {
	r, _, err := t.runner(ctx, step.Role)
	if err != nil {
		return release.Live{}, err
	}
	live, err := r.activate(ctx, step.Role, otherServices(step.Release, step.Role)...)
	return live, limitReached(ctx, err)
}

// limitReached is the *release.Failure of the rollout's time limit if that led to err, and
// otherwise err.
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
	r, h, err := t.runner(ctx, role)
	if err != nil {
		return deploy.Comparison{}, err
	}
	observed, err := r.observe(ctx, role, observing{whole: step.Whole, tree: t.trees.Open, services: t.servicesOn(h), bans: t.bans})
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

// Remove stops the role's service and removes it from its machine, unless a role of keep
// uses the same service. A unit that was there before shipit is restored.
func (t *Target) Remove(ctx context.Context, role release.Role, keep release.Release) error {
	for _, kept := range keep.Roles {
		if kept.Target != release.TargetHost {
			continue
		}
		same, err := t.sameService(ctx, role, kept)
		if same || err != nil {
			return withRole(role, err)
		}
	}
	r, _, err := t.runner(ctx, role)
	if err != nil {
		return err
	}
	_, keptElsewhere := keep.Role(role.Name)
	return r.remove(ctx, role, keptElsewhere)
}

// Undo is Remove with nothing to keep.
func (t *Target) Undo(ctx context.Context, role release.Role) error {
	return t.Remove(ctx, role, release.Release{})
}

// Prune removes the release directories that no good record names, except the newest
// (host.keep) and those in use.
func (t *Target) Prune(ctx context.Context, role release.Role, records func() ([]release.Record, error)) error {
	r, h, err := t.runner(ctx, role)
	if err != nil {
		return err
	}
	all, err := records()
	if err != nil {
		return fmt.Errorf("%s: prune: %w", role.Name, err)
	}
	kept := content.Keep{Newest: cmp.Or(h.Keep, defaultKeep)}
	for _, record := range all {
		for _, recorded := range record.Roles {
			if record.Good() && recorded.Target == release.TargetHost {
				kept.Digests = append(kept.Digests, recorded.Digest)
			}
		}
	}
	removed, err := content.Store{Machine: r.Machine, Root: h.RootOr(t.app)}.Prune(ctx, kept)
	if len(removed) > 0 {
		short := make([]string, len(removed))
		for i, digest := range removed {
			short[i] = release.ShortDigest(digest)
		}
		t.o.Progress.Report(release.Event{
			Phase: release.PhaseRecord, Mark: release.MarkNote, Role: role.Name,
			Message: "removed from " + r.Name + ": " + strings.Join(short, ", "),
		})
	}
	return err
}

// Mask hides the values of the role's environment file.
func (t *Target) Mask(ctx context.Context, role release.Role) (func(string) string, error) {
	r, _, err := t.runner(ctx, role)
	if err != nil {
		return nil, err
	}
	d, err := service.Define(role)
	if err != nil {
		return nil, err
	}
	mask, ok := r.mask(ctx, d)
	if !ok {
		return nil, fmt.Errorf("%s: its environment file cannot be read", role.Name)
	}
	return mask, nil
}

// Reach is the environment of the role's service, and its port on its machine; that of the
// machine that shipit runs on has no name by which others know it.
func (t *Target) Reach(role release.Role) deploy.Reach {
	var d release.ServiceDefinition
	if len(role.Objects) != 1 || json.Unmarshal(role.Objects[0], &d) != nil {
		return deploy.Reach{}
	}
	out := deploy.Reach{Env: d.Env}
	address := cmp.Or(d.Address, t.roles[role.Name].Address) // the record is older than what tells it
	if address != "" && address != release.LocalMachine && d.Port != 0 {
		out.Hosts = []string{net.JoinHostPort(machine.Hostname(address), strconv.Itoa(d.Port))}
	}
	return out
}

// Do sends a request as if from the role's machine: the URL names a port of
// 127.0.0.1 there.
func (t *Target) Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error) {
	r, _, err := t.runner(ctx, role)
	if err != nil {
		return nil, err
	}
	return r.Do(req.WithContext(ctx))
}

// withRole is err with the role's name before it; nil stays nil.
func withRole(role release.Role, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), role.Name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", role.Name, err)
}

// layers are the layers that shipit added on top of the base image, of the image ref for
// a platform.
func (t *Target) layers(ctx context.Context, ref, platform string) ([]content.Layer, error) {
	if t.o.ImageFor == nil {
		return nil, errors.New("fetch " + ref + ": no registry client is configured")
	}
	img, err := t.o.ImageFor(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	above, err := content.Layers(img)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return above, nil
}
