package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tracing"
)

// The builders that a configuration can name.
const (
	auto            = "auto"
	daggerBuilder   = "dagger"
	embeddedBuilder = "embedded"
)

// chosen is the builder that one build uses.
type chosen struct {
	name  string
	make  builder
	test  tester
	close func() // releases what the builder holds; call it once
}

// chooseBuilder returns the configured builder. auto is Dagger if an engine
// answers, otherwise the embedded builder, and reports why.
func chooseBuilder(ctx context.Context, in Inputs, opts Options) (chosen, error) {
	local := chosen{name: embeddedBuilder, make: embedded(opts), test: embeddedTests(opts), close: func() {}}
	switch {
	case opts.Client != nil:
		opts.Builder = daggerBuilder
	case opts.Builder == embeddedBuilder:
		return local, nil
	case slices.Contains([]string{"", auto, daggerBuilder}, opts.Builder):
	default:
		return chosen{}, fmt.Errorf("builder %q is not one of auto, dagger, embedded", opts.Builder)
	}
	reaching, end := tracing.Span(ctx, "reach a Dagger engine")
	e, err := connect(reaching, in, opts)
	end(err)
	switch {
	case err == nil:
		opts.report(release.MarkNote, "builder: dagger, by %s, engine %s", e.By, e.Version)
		return chosen{name: daggerBuilder, make: daggerBuilds(e, opts), test: daggerTests(e, opts), close: e.Close}, nil
	case opts.Builder == daggerBuilder || ctx.Err() != nil:
		return chosen{}, err
	}
	opts.report(release.MarkNote, "builder: embedded, because %v", err)
	return local, nil
}

// connect finds an engine for the inputs. Errors are *engine.Error.
func connect(ctx context.Context, in Inputs, opts Options) (*engine.Engine, error) {
	if len(in.Image.Run)+len(in.Image.Test) > 0 && in.Image.Toolchain == "" {
		return nil, &engine.Error{
			Reason: fmt.Sprintf("images.%s has commands to run and no toolchain to run them in", in.Name),
			Remedy: "name one by digest, such as docker.io/library/node:22-bookworm-slim@sha256:…",
		}
	}
	return engine.Connect(ctx, engine.Options{
		Client: opts.Client, Conn: opts.conn, Drain: opts.drain,
		Progress: func(line string) { opts.report(release.MarkStep, "%s", line) },
	})
}
