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

// publisher publishes the images of the commit. history reads the ledger, which says
// what an image was built from; nil without one.
func (t *commit) publisher(how buildFlags, history func() (deploy.History, error)) pipeline.Publisher {
	p := pipeline.Publisher{
		Registry: t.registry, Signer: t.attestor, Version: t.version,
		Build:   pipeline.BuildInfo{Version: version(), RunID: os.Getenv("GITHUB_RUN_ID")},
		Options: pipeline.Options{Builder: t.cfg.Builder, CacheDir: how.cache, NoRun: how.noRun, Progress: t.report},
	}
	if history != nil {
		p.Recorded = func(_ context.Context, key, digest string) bool {
			read, err := history()
			return err == nil && read.Built(key, digest)
		}
	}
	if p.Build.RunID != "" {
		p.Build.RunURL = fmt.Sprintf("%s/%s/actions/runs/%s", os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), p.Build.RunID)
	}
	return p
}
