package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy/host"
	"github.com/joelhooks/shipit/release"
)

// machineTarget is the target of a role that runs as a service of a machine. The
// connection is shared by all roles of the machine and made anew if it was lost.
type machineTarget struct {
	machines *host.Machines
	place    config.Host
	site     *site
}

func (m machineTarget) machine(ctx context.Context) (*host.Machine, error) {
	return m.machines.For(ctx, m.place)
}

func (m machineTarget) Preflight(ctx context.Context, _ release.Release, roles []release.Role) ([]release.Finding, error) {
	machine, err := m.machine(ctx)
	if err != nil {
		return nil, err
	}
	var findings []release.Finding
	for _, role := range roles {
		found, err := machine.Preflight(ctx, role, host.Needs{Runtime: m.place.Runtime})
		if err != nil {
			return nil, roleError(role, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func (m machineTarget) Prepare(ctx context.Context, role release.Role) error {
	machine, err := m.machine(ctx)
	if err != nil {
		return err
	}
	return machine.Prepare(ctx, role, host.Content{Layers: m.layers})
}

// layers are those that shipit put over the base: a host brings its own runtime.
func (m machineTarget) layers(ctx context.Context, ref, platform string) ([]host.Layer, error) {
	img, err := m.site.registry.ImageFor(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	own, err := ownLayers(img)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	return own, nil
}

// ownLayers are counted from the top: a base need not say of each of its layers
// what made it, but above it the history is shipit's.
func ownLayers(img v1.Image) ([]host.Layer, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	all, err := img.Layers()
	if err != nil {
		return nil, err
	}
	count := 0
	for _, h := range slices.Backward(config.History) {
		if h.CreatedBy != "shipit" {
			break
		}
		count++
	}
	base := len(all) - count
	if count == 0 || base < 0 || len(config.RootFS.DiffIDs) != len(all) {
		return nil, fmt.Errorf("its history names %d layers of shipit, and it has %d in all", count, len(all))
	}
	var own []host.Layer
	for i, l := range all[base:] {
		own = append(own, hostLayer(l, config.RootFS.DiffIDs[base+i]))
	}
	return own, nil
}

func hostLayer(l v1.Layer, diffID v1.Hash) host.Layer {
	return host.Layer{DiffID: diffID.String(), Open: func(context.Context) (io.ReadCloser, error) { return l.Uncompressed() }}
}

func (m machineTarget) Switch(ctx context.Context, _ release.Release, role release.Role) (release.Live, error) {
	machine, err := m.machine(ctx)
	if err != nil {
		return release.Live{}, err
	}
	live, err := machine.Switch(ctx, role)
	return live, gaveUp(ctx, err)
}

func (m machineTarget) Observe(ctx context.Context, role release.Role) (release.Live, error) {
	machine, err := m.machine(ctx)
	if err != nil {
		return release.Live{}, err
	}
	return machine.Observe(ctx, role)
}

// Drift is empty: what a host's service runs from, and by which unit, is part of
// what Observe sees.
func (m machineTarget) Drift(context.Context, release.Role) ([]release.Drift, error) { return nil, nil }

func (m machineTarget) Diff(ctx context.Context, _ release.Release, role release.Role) ([]change, []release.Finding, error) {
	live, err := m.Observe(ctx, role)
	var failed *release.Failure
	if err != nil && !errors.As(err, &failed) { // a service that failed runs nothing: that is a difference
		return nil, nil, err
	}
	if role.Runs(live.Digest()) && live.Note == "" {
		return nil, nil, nil
	}
	running := live.Digest()
	if running == "" {
		running = "nothing"
	}
	return []change{{
		Role: role.Name, Object: "Service " + m.place.Service, Action: "switched",
		Diff: fmt.Sprintf("- %s\n+ %s", running, role.Digest),
	}}, nil, nil
}

func (m machineTarget) Do(ctx context.Context, _ release.Role, req *http.Request) (*http.Response, error) {
	machine, err := m.machine(ctx)
	if err != nil {
		return nil, err
	}
	return machine.Do(req)
}

// Withdraw takes a service away again that no earlier release had.
func (m machineTarget) Withdraw(ctx context.Context, role release.Role) error {
	machine, err := m.machine(ctx)
	if err != nil {
		return err
	}
	return machine.Withdraw(ctx, role)
}

// Settled removes the release directories that no good record names, but for the last few.
func (m machineTarget) Settled(ctx context.Context, role release.Role, records []release.Record) error {
	machine, err := m.machine(ctx)
	if err != nil {
		return err
	}
	keep := host.Keep{Root: rootOf(m.site.cfg.App, m.place), Newest: m.place.Keep}
	if keep.Newest == 0 {
		keep.Newest = 3
	}
	for _, r := range records {
		for _, rr := range r.Roles {
			if r.Good() && rr.Target == release.TargetHost {
				keep.Digests = append(keep.Digests, rr.Digest)
			}
		}
	}
	removed, err := machine.Prune(ctx, keep)
	if len(removed) > 0 {
		m.site.report(release.Event{Phase: release.PhaseRecord, Mark: release.MarkNote, Role: role.Name, Message: "removed from " + machine.Name() + ": " + strings.Join(shortened(removed), ", ")})
	}
	return err
}

func shortened(digests []string) []string {
	var out []string
	for _, d := range digests {
		out = append(out, release.ShortDigest(d))
	}
	return out
}

func (m machineTarget) Close() error { return m.machines.Close() }
