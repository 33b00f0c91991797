package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
)

// buildFlags are how a command builds; the zero value is the usual way.
type buildFlags struct {
	noRun bool
	cache string
}

func (b *buildFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&b.noRun, "no-run", false, "run no command of the repository: an image that has some must be in the registry or the cache")
	flags.StringVar(&b.cache, "cache", "", "keep layers and package stores in `DIR` (default: shipit in the user's cache folder)")
}

// publisher makes the images of the commit known to their registry. known asks
// the ledger what an image was made of; nil where no ledger is read.
func (t *tree) publisher(how buildFlags, known knownImage) pipeline.Publisher {
	p := pipeline.Publisher{
		Registry: t.registry, Signer: t.attestor, Version: t.version, Known: known,
		Maker:   pipeline.Maker{Version: version(), RunID: os.Getenv("GITHUB_RUN_ID")},
		Options: pipeline.Options{Builder: t.cfg.Builder, CacheDir: how.cache, NoRun: how.noRun, Progress: t.report},
	}
	if p.Maker.RunID != "" {
		p.Maker.RunURL = fmt.Sprintf("%s/%s/actions/runs/%s", os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), p.Maker.RunID)
	}
	return p
}

// knownImage reports whether a record says that an image was made of the inputs of a key.
type knownImage func(ctx context.Context, key, digest string) bool

// recorded answers from the records of the app. Those that are not what was once
// kept say nothing.
func recorded(read func() (deploy.History, error)) knownImage {
	return func(_ context.Context, key, digest string) bool {
		history, err := read()
		if err != nil {
			return false
		}
		for _, entry := range history.Entries {
			for _, role := range entry.Record.Roles {
				if entry.Record.Altered == "" && role.Key == key && role.Digest == digest {
					return true
				}
			}
		}
		return false
	}
}

// imageStep is what is done with one image, such as pipeline.Publisher.Publish.
type imageStep func(pipeline.Publisher, context.Context, pipeline.Inputs) (pipeline.Image, error)

// eachImage does one thing with every image that a role uses.
func (t *tree) eachImage(ctx context.Context, p pipeline.Publisher, do imageStep) (map[string]pipeline.Image, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		in, err := pipeline.Resolve(ctx, t.source, t.cfg, name)
		if err != nil {
			return nil, err
		}
		if images[name], err = do(p, ctx, in); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	return images, nil
}
