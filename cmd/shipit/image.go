package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// imageBuilder makes one image known to the registry.
type imageBuilder struct {
	*tree
	inputs pipeline.Inputs
}

func (t *tree) builder(ctx context.Context, name string) (imageBuilder, error) {
	inputs, err := pipeline.Resolve(ctx, t.source, t.cfg, name)
	return imageBuilder{tree: t, inputs: inputs}, err
}

// find looks the image up by its key, and builds it if the registry does not
// know it; nothing is pushed.
func (b imageBuilder) find(ctx context.Context) (imageBuilt, error) {
	if known, ok, err := b.known(ctx); err != nil || ok {
		return known, err
	}
	built, err := b.build(ctx)
	if err != nil {
		return imageBuilt{}, err
	}
	return b.result(built.Digest, built.Aliases, true), nil
}

// publish makes sure that the registry holds the image under the commit's SHA.
func (b imageBuilder) publish(ctx context.Context) (imageBuilt, error) {
	known, ok, err := b.known(ctx)
	if err != nil {
		return imageBuilt{}, err
	}
	if ok {
		if err := b.retag(ctx, known); err != nil {
			return imageBuilt{}, err
		}
		return known, b.sign(ctx, known)
	}
	built, err := b.build(ctx)
	if err != nil {
		return imageBuilt{}, err
	}
	b.report(release.Event{Phase: release.PhasePush, Mark: release.MarkStart, Message: "push " + b.inputs.Name})
	pushed, err := b.registry.Publish(ctx, registry.Publication{
		Repository: b.inputs.Image.Repository, Artifact: built.Artifact, SHA: b.source.SHA,
		Tags: append(b.tags()[1:], inputsTag(b.inputs.Key)),
	})
	if err != nil {
		return imageBuilt{}, err
	}
	b.report(release.Event{Phase: release.PhasePush, Mark: release.MarkDone, Message: fmt.Sprintf("pushed %s %s", b.inputs.Name, release.ShortDigest(pushed.Digest))})
	res := b.result(pushed.Digest, built.Aliases, true)
	res.Builder = built.Builder
	return res, b.sign(ctx, res)
}

// retag puts the commit's tags on an image that the registry has: the SHA
// moves, the bits are equal.
func (b imageBuilder) retag(ctx context.Context, known imageBuilt) error {
	written, err := b.registry.Tag(ctx, b.inputs.Image.Repository, known.Digest, b.tags()...)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s %s is in the registry", b.inputs.Name, release.ShortDigest(known.Digest))
	if len(written) > 0 {
		message = fmt.Sprintf("%s: the SHA moved, the bits are equal: %s", b.inputs.Name, release.ShortDigest(known.Digest))
	}
	b.report(release.Event{Phase: release.PhasePush, Mark: release.MarkDone, Message: message})
	return nil
}

// reproduce builds the image twice and compares; nothing is pushed.
func (b imageBuilder) reproduce(ctx context.Context) (imageBuilt, error) {
	built, err := pipeline.CheckReproducible(ctx, b.inputs, b.buildOptions())
	if err != nil {
		return imageBuilt{}, err
	}
	b.report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: b.inputs.Name + " is reproducible: two builds, one digest"})
	return b.result(built.Digest, built.Aliases, true), nil
}

func (b imageBuilder) build(ctx context.Context) (pipeline.Built, error) {
	b.report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkStart, Message: "build " + b.inputs.Name})
	built, err := pipeline.Build(ctx, b.inputs, b.buildOptions())
	if err != nil {
		return built, err
	}
	b.report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: fmt.Sprintf("built %s %s", b.inputs.Name, release.ShortDigest(built.Digest))})
	return built, nil
}

func (t *tree) buildOptions() pipeline.Options {
	return pipeline.Options{
		Base: func(ctx context.Context, ref string) (pipeline.Artifact, error) {
			return t.registry.Artifact(ctx, ref)
		},
		Builder:  t.cfg.Builder,
		Progress: t.report,
	}
}

// known asks the registry for a build of the same inputs.
func (b imageBuilder) known(ctx context.Context) (imageBuilt, bool, error) {
	repository := b.inputs.Image.Repository
	digest, aliases, err := b.registry.Find(ctx, repository+":"+inputsTag(b.inputs.Key))
	var (
		missing *registry.NotFoundError
		denied  *registry.AuthError
	)
	// A registry may deny what is not there yet; whether it is a denial shows at the push.
	if errors.As(err, &missing) || errors.As(err, &denied) {
		return imageBuilt{}, false, nil
	}
	if err != nil {
		return imageBuilt{}, false, err
	}
	return b.result(digest, aliases, false), true, nil
}

func (b imageBuilder) result(digest string, aliases []string, built bool) imageBuilt {
	repository := b.inputs.Image.Repository
	res := imageBuilt{
		Name: b.inputs.Name, Reference: repository + "@" + digest, Digest: digest, Key: b.inputs.Key, Built: built,
		Tags: b.tags(), Packages: []string{}, repository: repository, aliases: aliases,
	}
	for _, p := range b.inputs.Closure.Packages {
		res.Packages = append(res.Packages, p.Dir)
	}
	return res
}

// tags are the SHA, and the version if there is one.
func (b imageBuilder) tags() []string {
	tags := []string{b.source.SHA}
	if b.version != "" {
		tags = append(tags, b.version)
	}
	return tags
}

// inputsTag is the tag under which a build is found by what went into it.
func inputsTag(key string) string { return "inputs-" + key }

// eachImage does one thing with every image that a role uses.
func (t *tree) eachImage(ctx context.Context, do func(imageBuilder, context.Context) (imageBuilt, error)) (map[string]imageBuilt, error) {
	images := map[string]imageBuilt{}
	for _, name := range t.imageNames() {
		b, err := t.builder(ctx, name)
		if err != nil {
			return nil, err
		}
		if images[name], err = do(b, ctx); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	return images, nil
}
