package pipeline

import (
	"context"
	"errors"
	"fmt"

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
	Built     bool     `json:"built"` // false: the registry already had it
	Builder   string   `json:"builder,omitempty"`
	Tags      []string `json:"tags"`
	Packages  []string `json:"packages"` // folders of the workspace closure

	Repository string   `json:"-"`
	Aliases    []string `json:"-"` // other digests that a runtime may report for it
}

// Publisher builds, signs, pushes and tags the images of a commit.
type Publisher struct {
	Registry *registry.Client
	Signer   *attest.Attestor // signs published images; may be configured not to
	Version  string           // version of the commit, added as a tag beside the SHA; "" for none
	Build    BuildInfo
	Options  Options // build options; a nil Base reads base images from the registry
	// Recorded reports whether a ledger record says that digest was built from the
	// inputs with that key. Used only when nothing is signed; nil means no.
	Recorded func(ctx context.Context, key, digest string) bool
	// Cleared gives what stands against the commit. Publish calls it when it has asked the
	// registry, before it builds, signs or pushes anything; its error ends Publish. nil: nothing does.
	Cleared func(ctx context.Context) error
}

// BuildInfo is what built an image, for its SLSA provenance.
type BuildInfo struct {
	Version string // of shipit
	RunID   string // of CI; "" outside CI
	RunURL  string
}

// FindOrBuild returns the image that the registry has for the inputs. If there is
// none that can be trusted, it builds the image. Nothing is pushed.
func (p Publisher) FindOrBuild(ctx context.Context, in Inputs) (Image, error) {
	found, err := p.lookUp(ctx, in)
	if err != nil || found.trusted {
		return found.image, err
	}
	image, _, err := p.buildAndCompare(ctx, in, found)
	return image, err
}

// Publish ensures that the registry has the image under the commit's SHA tag,
// signed if signing is on. Tags are written last, so a run that is killed leaves
// either no tag or a signed image.
func (p Publisher) Publish(ctx context.Context, in Inputs) (Image, error) {
	found, err := p.lookUp(ctx, in)
	if err == nil && p.Cleared != nil {
		err = p.Cleared(ctx)
	}
	if err != nil {
		return Image{}, err
	}
	if found.trusted {
		if err := p.sign(ctx, in, found); err != nil {
			return Image{}, err
		}
		return found.image, p.tag(ctx, in, found.image)
	}
	image, artifact, err := p.buildAndCompare(ctx, in, found)
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkStart, "push %s", in.Name)
	pushed, err := p.Registry.Publish(ctx, registry.Publication{
		Repository: in.Image.Repository, Artifact: artifact, SHA: in.Source.SHA,
		Tags:   append(p.versionTags(), inputsTag(in.Key)),
		Attest: func(ctx context.Context) error { return p.sign(ctx, in, lookup{image: image}) },
	})
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhasePush, release.MarkDone, "pushed %s %s", in.Name, release.ShortDigest(pushed.Digest))
	return image, nil
}

// buildAndCompare builds the image. If the registry has an untrusted image for the
// inputs, another digest is an error, and the same counts as not built.
func (p Publisher) buildAndCompare(ctx context.Context, in Inputs, found lookup) (Image, Artifact, error) {
	built, err := p.build(ctx, in)
	if err != nil {
		return Image{}, nil, err
	}
	image, err := found.compare(p.imageFromBuild(in, built))
	return image, built.Artifact, err
}

// CheckReproducible builds the image twice and compares; nothing is pushed.
func (p Publisher) CheckReproducible(ctx context.Context, in Inputs) (Image, error) {
	built, err := checkReproducible(ctx, in, p.options())
	if err != nil {
		return Image{}, err
	}
	p.report(release.PhaseBuild, release.MarkDone, "%s is reproducible: two builds, one digest", in.Name)
	return p.imageFromBuild(in, built), nil
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
	original, err := p.Registry.Artifact(ctx, reference)
	if err != nil {
		return attest.Difference{}, err
	}
	switch rebuilt := built.Artifact.(type) {
	case v1.Image:
		if image, ok := original.(v1.Image); ok {
			return attest.CompareRebuild(image, rebuilt)
		}
	case v1.ImageIndex:
		if index, ok := original.(v1.ImageIndex); ok {
			return attest.CompareRebuildIndex(index, rebuilt)
		}
	}
	return attest.Difference{}, errors.New("cannot compare: one is an image, the other an image index")
}

// tag puts the commit's tags on an image that the registry already has.
func (p Publisher) tag(ctx context.Context, in Inputs, image Image) error {
	written, err := p.Registry.Tag(ctx, image.Repository, image.Digest, append(image.Tags, inputsTag(in.Key))...)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s %s is already in the registry", in.Name, release.ShortDigest(image.Digest))
	if len(written) > 0 {
		message = fmt.Sprintf("%s: new commit, same image %s", in.Name, release.ShortDigest(image.Digest))
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

// imageFromBuild describes a build.
func (p Publisher) imageFromBuild(in Inputs, built Built) Image {
	image := p.imageFor(in, built.Digest, built.Aliases)
	image.Built, image.Builder = true, built.Builder
	return image
}

// imageFor describes the image of the inputs with that digest.
func (p Publisher) imageFor(in Inputs, digest string, aliases []string) Image {
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
	return append([]string{in.Source.SHA}, p.versionTags()...)
}

// versionTags is the version's tag; empty if there is no version.
func (p Publisher) versionTags() []string {
	if p.Version == "" {
		return nil
	}
	return []string{p.Version}
}

// inputsTag is the tag under which an image is found by the key of its inputs.
func inputsTag(key string) string { return "inputs-" + key }

func (p Publisher) options() Options {
	o := p.Options
	if o.Base == nil && p.Registry != nil {
		o.Base = func(ctx context.Context, ref string) (Artifact, error) { return p.Registry.Artifact(ctx, ref) }
	}
	return o
}

func (p Publisher) report(phase release.Phase, mark release.Mark, format string, args ...any) {
	p.Options.Progress.Report(release.Event{Phase: phase, Mark: mark, Message: fmt.Sprintf(format, args...)})
}
