package pipeline

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// The builders that a configuration can name.
const (
	auto            = "auto"
	daggerBuilder   = "dagger"
	embeddedBuilder = "embedded"
)

// chosen is the builder of one build.
type chosen struct {
	name  string
	make  builder
	close func() // ends what the builder holds; call it once
}

// chooseBuilder is the builder that was asked for. auto is Dagger where an
// engine answers, else the embedded one, and says why.
func chooseBuilder(ctx context.Context, in Inputs, opts Options) (chosen, error) {
	local := chosen{name: embeddedBuilder, make: embedded(opts), close: func() {}}
	switch opts.Builder {
	case embeddedBuilder:
		return local, nil
	case "", auto, daggerBuilder:
	default:
		return chosen{}, fmt.Errorf("builder %q is none of auto, dagger, embedded", opts.Builder)
	}
	e, err := connect(ctx, in, opts)
	switch {
	case err == nil:
		opts.report(release.MarkNote, "builder: dagger, by %s", e.by)
		return chosen{name: daggerBuilder, make: e.builder(), close: e.close}, nil
	case opts.Builder == daggerBuilder || ctx.Err() != nil:
		return chosen{}, err
	}
	opts.report(release.MarkNote, "builder: embedded, because %v", err)
	return local, nil
}
