package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// Image is an image of a commit. The JSON fields are part of the contract of
// `build -o json` and `plan -o json`.
type Image struct {
	Name      string   `json:"name"`
	Reference string   `json:"reference"` // repository@sha256:…
	Digest    string   `json:"digest"`
	Key       string   `json:"key"`   // hash of everything that went in
	Built     bool     `json:"built"` // false: the registry knew the key
	Builder   string   `json:"builder,omitempty"`
	Tags      []string `json:"tags"`
	Packages  []string `json:"packages"` // folders of the workspace closure

	Repository string   `json:"-"`
	Aliases    []string `json:"-"` // other digests that a runtime may report for it
}

// Publisher makes the images of a commit known to their registry.
type Publisher struct {
	Registry *registry.Client
	Signer   *attest.Attestor // signs what is published, if it is one that signs
	Version  string           // of the commit, a tag beside the SHA; "" is no tag
	Maker    Maker
	Options  Options // of builds; Base is the registry if it is nil
	// Known reports whether the ledger has recorded that an image was made of the
	// inputs of that key. It is asked where nothing is signed; nil knows nothing.
	Known func(ctx context.Context, key, digest string) bool
}

// Maker is who built an image, for its provenance.
type Maker struct {
	Version string // of shipit
	RunID   string // of CI; "" outside CI
	RunURL  string
}

// Find looks the image up by the key of its inputs, and builds it if the
// registry has none that can be trusted; nothing is pushed.
func (p Publisher) Find(ctx context.Context, in Inputs) (Image, error) {
	found, err := p.lookUp(ctx, in)
	if err != nil || found.trusted {
		return found.image, err
	}
	built, err := p.build(ctx, in)
	if err != nil {
		return Image{}, err
	}
	return found.compare(p.image(in, built))
}

// Publish makes sure that the registry holds the image under the commit's SHA,
// signed if the signer signs. The tags come last: what a tag names is signed, so
// a run that was killed leaves either nothing or what the next run will trust.
func (p Publisher) Publish(ctx context.Context, in Inputs) (Image, error) {
	found, err := p.lookUp(ctx, in)
	if err != nil {
		return Image{}, err
	}
	if found.trusted {
		if err := p.sign(ctx, in, found); err != nil {
			return Image{}, err
		}
		return found.image, p.tag(ctx, in, found.image)
	}
	built, err := p.build(ctx, in)
	if err != nil {
		return Image{}, err
	}
	image, err := found.compare(p.image(in, built))
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkStart, "push %s", in.Name)
	pushed, err := p.Registry.Publish(ctx, registry.Publication{
		Repository: in.Image.Repository, Artifact: built.Artifact, SHA: in.Source.SHA,
		Tags:   append(p.tags(in)[1:], inputsTag(in.Key)),
		Attest: func(ctx context.Context) error { return p.sign(ctx, in, lookup{image: image}) },
	})
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkDone, "pushed %s %s", in.Name, release.ShortDigest(pushed.Digest))
	return image, nil
}

// CheckReproducible builds the image twice and compares; nothing is pushed.
func (p Publisher) CheckReproducible(ctx context.Context, in Inputs) (Image, error) {
	built, err := checkReproducible(ctx, in, p.options())
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhaseBuild, release.MarkDone, "%s is reproducible: two builds, one digest", in.Name)
	return p.image(in, built), nil
}

// Rebuild builds the inputs without any cache and compares the result with the
// image that reference names by digest.
func (p Publisher) Rebuild(ctx context.Context, in Inputs, reference string) (attest.Difference, error) {
	options := p.options()
	options.NoCache = true
	built, err := Build(ctx, in, options)
	if err != nil {
		return attest.Difference{}, err
	}
	recorded, err := p.Registry.Artifact(ctx, reference)
	if err != nil {
		return attest.Difference{}, err
	}
	switch again := built.Artifact.(type) {
	case v1.Image:
		if image, ok := recorded.(v1.Image); ok {
			return attest.CompareRebuild(image, again)
		}
	case v1.ImageIndex:
		if index, ok := recorded.(v1.ImageIndex); ok {
			return attest.CompareRebuildIndex(index, again)
		}
	}
	return attest.Difference{}, errors.New("one is an image and the other an index")
}

// tag puts the commit's tags on an image that the registry has: the SHA moves,
// the bits are equal.
func (p Publisher) tag(ctx context.Context, in Inputs, known Image) error {
	written, err := p.Registry.Tag(ctx, known.Repository, known.Digest, append(known.Tags, inputsTag(in.Key))...)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s %s is in the registry", in.Name, release.ShortDigest(known.Digest))
	if len(written) > 0 {
		message = fmt.Sprintf("%s: the SHA moved, the bits are equal: %s", in.Name, release.ShortDigest(known.Digest))
	}
	p.report(release.PhasePush, release.MarkDone, "%s", message)
	return nil
}

func (p Publisher) build(ctx context.Context, in Inputs) (Built, error) {
	p.report(release.PhaseBuild, release.MarkStart, "build %s", in.Name)
	built, err := Build(ctx, in, p.options())
	if err != nil {
		return built, err
	}
	p.report(release.PhaseBuild, release.MarkDone, "built %s %s", in.Name, release.ShortDigest(built.Digest))
	return built, nil
}

// image is what was built, as one that the registry does not have.
func (p Publisher) image(in Inputs, built Built) Image {
	image := p.named(in, built.Digest, built.Aliases)
	image.Built, image.Builder = true, built.Builder
	return image
}

func (p Publisher) named(in Inputs, digest string, aliases []string) Image {
	image := Image{
		Name: in.Name, Reference: in.Image.Repository + "@" + digest, Digest: digest, Key: in.Key,
		Tags: p.tags(in), Packages: []string{}, Repository: in.Image.Repository, Aliases: aliases,
	}
	for _, pkg := range in.Closure.Packages {
		image.Packages = append(image.Packages, pkg.Dir)
	}
	return image
}

// tags are the SHA, and the version if there is one.
func (p Publisher) tags(in Inputs) []string {
	return slices.DeleteFunc([]string{in.Source.SHA, p.Version}, func(tag string) bool { return tag == "" })
}

// inputsTag is the tag under which a build is found by what went into it.
func inputsTag(key string) string { return "inputs-" + key }

func (p Publisher) options() Options {
	o := p.Options
	if o.Base == nil {
		o.Base = func(ctx context.Context, ref string) (Artifact, error) { return p.Registry.Artifact(ctx, ref) }
	}
	return o
}

func (p Publisher) report(phase release.Phase, mark release.Mark, format string, args ...any) {
	p.Options.Progress.Report(release.Event{Phase: phase, Mark: mark, Message: fmt.Sprintf(format, args...)})
}
