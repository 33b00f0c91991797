package main

import (
	"context"
	"fmt"
	"os"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
)

// publisher makes the images of the commit known to their registry. known asks
// the ledger what an image was made of; nil where no ledger is read.
func (t *tree) publisher(known knownImage) pipeline.Publisher {
	p := pipeline.Publisher{
		Registry: t.registry, Signer: t.notary, Version: t.version, Known: known,
		Maker:   pipeline.Maker{Version: version(), RunID: os.Getenv("GITHUB_RUN_ID")},
		Options: pipeline.Options{Builder: t.cfg.Builder, Progress: t.report},
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
func (t *tree) eachImage(ctx context.Context, known knownImage, do imageStep) (map[string]pipeline.Image, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		in, err := pipeline.Resolve(ctx, t.source, t.cfg, name)
		if err != nil {
			return nil, err
		}
		if images[name], err = do(t.publisher(known), ctx, in); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	return images, nil
}
