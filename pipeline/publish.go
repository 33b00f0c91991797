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
	Signer   *attest.Notary // signs what is published, if it is one that signs
	Version  string         // of the commit, a tag beside the SHA; "" is no tag
	Maker    Maker
	Options  Options // of builds; Base is the registry if it is nil
}

// Maker is who built an image, for its provenance.
type Maker struct {
	Version string // of shipit
	RunID   string // of CI; "" outside CI
	RunURL  string
}

// Find looks the image up by the key of its inputs, and builds it if the
// registry does not know the key; nothing is pushed.
func (p Publisher) Find(ctx context.Context, in Inputs) (Image, error) {
	if known, ok, err := p.known(ctx, in); err != nil || ok {
		return known, err
	}
	built, err := p.build(ctx, in)
	if err != nil {
		return Image{}, err
	}
	return p.image(in, built.Digest, built.Aliases, true), nil
}

// Publish makes sure that the registry holds the image under the commit's SHA,
// signed if the signer signs.
func (p Publisher) Publish(ctx context.Context, in Inputs) (Image, error) {
	known, ok, err := p.known(ctx, in)
	if err != nil {
		return Image{}, err
	}
	if ok {
		if err := p.tag(ctx, in, known); err != nil {
			return Image{}, err
		}
		return known, p.sign(ctx, in, known)
	}
	built, err := p.build(ctx, in)
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkStart, "push %s", in.Name)
	pushed, err := p.Registry.Publish(ctx, registry.Publication{
		Repository: in.Image.Repository, Artifact: built.Artifact, SHA: in.Source.SHA,
		Tags: append(p.tags(in)[1:], inputsTag(in.Key)),
	})
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkDone, "pushed %s %s", in.Name, release.ShortDigest(pushed.Digest))
	image := p.image(in, pushed.Digest, built.Aliases, true)
	image.Builder = built.Builder
	return image, p.sign(ctx, in, image)
}

// CheckReproducible builds the image twice and compares; nothing is pushed.
func (p Publisher) CheckReproducible(ctx context.Context, in Inputs) (Image, error) {
	built, err := CheckReproducible(ctx, in, p.options())
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhaseBuild, release.MarkDone, "%s is reproducible: two builds, one digest", in.Name)
	return p.image(in, built.Digest, built.Aliases, true), nil
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
	written, err := p.Registry.Tag(ctx, known.Repository, known.Digest, known.Tags...)
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

// known asks the registry for a build of the same inputs.
func (p Publisher) known(ctx context.Context, in Inputs) (Image, bool, error) {
	digest, aliases, err := p.Registry.Find(ctx, in.Image.Repository+":"+inputsTag(in.Key))
	var (
		missing *registry.NotFoundError
		denied  *registry.AuthError
	)
	// A registry may deny what is not there yet; whether it is a denial shows at the push.
	if errors.As(err, &missing) || errors.As(err, &denied) {
		return Image{}, false, nil
	}
	if err != nil {
		return Image{}, false, err
	}
	return p.image(in, digest, aliases, false), true, nil
}

func (p Publisher) image(in Inputs, digest string, aliases []string, built bool) Image {
	image := Image{
		Name: in.Name, Reference: in.Image.Repository + "@" + digest, Digest: digest, Key: in.Key, Built: built,
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
