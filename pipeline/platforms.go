package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/release"
)

// hasToolchain refuses a toolchain without an image for a platform on which commands
// would run: an engine would use the image of another platform. Variants of architectures
// are not compared, because few images name theirs. A toolchain that this machine cannot
// read is left to the engine to check.
func hasToolchain(ctx context.Context, in Inputs, on []string, opts Options) error {
	if opts.Base == nil {
		return nil
	}
	found, err := opts.Base(ctx, in.Image.Toolchain)
	if err != nil {
		opts.report(release.MarkNote, "toolchain %s: its platforms could not be checked: %v", in.Image.Toolchain, err)
		return ctx.Err()
	}
	var needed []string
	for _, name := range on {
		without, err := osArchOf(name)
		if err != nil {
			return err
		}
		needed = append(needed, without)
	}
	all, err := basePlatforms(found)
	if err == nil {
		_, err = choose(all, needed)
	}
	if err != nil {
		return fmt.Errorf("toolchain %s: %w", in.Image.Toolchain, err)
	}
	return nil
}

// batches are the runs of the image's commands in the engine: an install is told the
// platform and runs on the engine's own; any other command runs in the toolchain of
// each platform.
func (r daggerRun) batches(ctx context.Context, in Inputs, list []platform) ([]batch, error) {
	if len(in.Image.Run)+len(in.Image.Test) == 0 {
		return batches(ctx, in, list, machine(), r.opts)
	}
	own, err := r.client.DefaultPlatform(ctx)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	on, err := osArchOf(string(own))
	if err != nil {
		return nil, fmt.Errorf("the engine's own platform: %w", err)
	}
	all, err := batches(ctx, in, list, on, r.opts)
	if err != nil {
		return nil, err
	}
	if in.manager() == "" && len(in.Image.Run) > 0 {
		all = nil
		for _, p := range list {
			all = append(all, emulated(in, p, on))
		}
	}
	var needed []string
	for _, b := range all {
		needed = append(needed, b.on)
	}
	return all, hasToolchain(ctx, in, needed, r.opts)
}

// osArchOf is a platform such as linux/arm64/v8 without its variant.
func osArchOf(name string) (string, error) {
	spec, err := v1.ParsePlatform(name)
	if err != nil {
		return "", err
	}
	if spec.OS == "" || spec.Architecture == "" {
		return "", fmt.Errorf("%q is no platform", name)
	}
	return platform{spec: *spec}.osArch(), nil
}

// emulated is a run of the commands in the toolchain of a platform, on the engine's own
// for a system that no engine runs.
func emulated(in Inputs, p platform, own string) batch {
	on := p.name
	if p.spec.OS != "linux" {
		on = own
	}
	return batch{in: in, names: []string{p.name}, on: on}
}

// retried builds a batch whose packages have scripts once more, for each platform in a
// toolchain of its own: an engine can run those of linux. failed is why it is done.
func (r daggerRun) retried(ctx context.Context, b batch, list []platform, failed *scriptsError, build func(batch) error) error {
	var refused refusals
	for _, p := range named(list, b.names) {
		if p.spec.OS != "linux" {
			_ = refused.take(failed)
			continue
		}
		again := emulated(r.in, p, b.on)
		if err := hasToolchain(ctx, r.in, []string{again.on}, r.opts); err != nil {
			return errors.Join(failed, err)
		}
		r.opts.report(release.MarkNote, "%s runs in the toolchain of %s, because of install scripts: %s", r.in.Name, p.name, strings.Join(failed.packages, ", "))
		if err := build(again); err != nil && !refused.take(err) {
			return err
		}
	}
	return refused.err()
}
