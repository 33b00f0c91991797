package main

import (
	"context"
	"fmt"
	"os"

	"github.com/joelhooks/shipit/pipeline"
)

// publisher makes the images of the commit known to their registry.
func (t *tree) publisher() pipeline.Publisher {
	p := pipeline.Publisher{
		Registry: t.registry, Signer: t.notary, Version: t.version,
		Maker:   pipeline.Maker{Version: version(), RunID: os.Getenv("GITHUB_RUN_ID")},
		Options: pipeline.Options{Builder: t.cfg.Builder, Progress: t.report},
	}
	if p.Maker.RunID != "" {
		p.Maker.RunURL = fmt.Sprintf("%s/%s/actions/runs/%s", os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), p.Maker.RunID)
	}
	return p
}

// eachImage does one thing with every image that a role uses.
func (t *tree) eachImage(ctx context.Context, do func(pipeline.Publisher, context.Context, pipeline.Inputs) (pipeline.Image, error)) (map[string]pipeline.Image, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		in, err := pipeline.Resolve(ctx, t.source, t.cfg, name)
		if err != nil {
			return nil, err
		}
		if images[name], err = do(t.publisher(), ctx, in); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	return images, nil
}
