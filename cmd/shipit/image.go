package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
)

// buildFlags are the flags of commands that build.
type buildFlags struct {
	noRun bool
	cache string
}

func (b *buildFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&b.noRun, "no-run", false, "run no command of the repository; images whose build needs one must be in the registry or the cache")
	flags.StringVar(&b.cache, "cache", "", "store layers and package stores in `DIR` (default: shipit in the user's cache folder)")
}

// publisher publishes the images of the commit. recorded reports whether a record
// says that an image was built from the inputs with a key; nil without a ledger.
func (t *commit) publisher(how buildFlags, recorded isRecordedFunc) pipeline.Publisher {
	p := pipeline.Publisher{
		Registry: t.registry, Signer: t.attestor, Version: t.version, Recorded: recorded,
		Build:   pipeline.BuildInfo{Version: version(), RunID: os.Getenv("GITHUB_RUN_ID")},
		Options: pipeline.Options{Builder: t.cfg.Builder, CacheDir: how.cache, NoRun: how.noRun, Progress: t.report},
	}
	if p.Build.RunID != "" {
		p.Build.RunURL = fmt.Sprintf("%s/%s/actions/runs/%s", os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), p.Build.RunID)
	}
	return p
}

// isRecordedFunc reports whether a record says that the image with that digest was
// built from the inputs with that key.
type isRecordedFunc func(ctx context.Context, key, digest string) bool

// isRecorded looks at the records of the app, except those that were altered.
func isRecorded(read func() (deploy.History, error)) isRecordedFunc {
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

// imageStep is a method of a Publisher, such as pipeline.Publisher.Publish.
type imageStep func(pipeline.Publisher, context.Context, pipeline.Inputs) (pipeline.Image, error)

// eachImage calls do for every image that a role uses.
func (t *commit) eachImage(ctx context.Context, p pipeline.Publisher, do imageStep) (map[string]pipeline.Image, error) {
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
