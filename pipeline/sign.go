package pipeline

import (
	"context"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/release"
)

// sign attaches provenance and SBOM to an image and signs it. The signature comes
// last, so a signed image has the attestations too, and the next run completes what
// a killed run began.
func (p Publisher) sign(ctx context.Context, in Inputs, found lookup) error {
	if p.Signer == nil || !p.Signer.Signs() {
		return nil
	}
	image := found.image
	p.report(release.PhaseSign, release.MarkStart, "sign %s", image.Name)
	signed, err := p.Signer.Signed(ctx, image.Reference)
	if err != nil {
		return err
	}
	// A signed image that was found has the provenance of the commit that it was built for.
	if !signed || !found.attested {
		if err := p.attest(ctx, in, image); err != nil {
			return err
		}
		if _, _, err := p.Signer.Sign(ctx, image.Reference); err != nil {
			return err
		}
	}
	p.report(release.PhaseSign, release.MarkDone, "signed %s %s", image.Name, release.ShortDigest(image.Digest))
	return nil
}

// attest attaches provenance and SBOM.
func (p Publisher) attest(ctx context.Context, in Inputs, image Image) error {
	build := p.provenance(in, image)
	if _, _, err := p.Signer.Attest(ctx, image.Reference, attest.ProvenanceType, attest.Provenance(build)); err != nil {
		return err
	}
	sbom, err := sbomOf(ctx, in)
	if err != nil || sbom == nil {
		return err
	}
	_, _, err = p.Signer.Attest(ctx, image.Reference, attest.SBOMType, sbom)
	return err
}

func (p Publisher) provenance(in Inputs, image Image) attest.Build {
	build := attest.Build{
		Repository: in.SourceURL, SHA: in.Source.SHA, Tree: in.Source.Tree, Image: in.Name, Package: in.Image.Package,
		Closure: map[string]string{}, Lockfile: in.Closure.Lockfile, Platforms: in.Image.Platforms, Recipe: in.Image.Run,
		Key: in.Key, Builder: image.Builder, Version: p.Build.Version, RunID: p.Build.RunID, RunURL: p.Build.RunURL,
	}
	if build.Repository == "" {
		build.Repository = "file://" + in.app
	}
	for _, f := range in.Closure.Files {
		build.Closure[f.Path] = f.ID
	}
	for _, base := range []string{in.Image.Base, in.Image.Toolchain} {
		if base != "" && base != scratch {
			build.Bases = append(build.Bases, base)
		}
	}
	return build
}

// sbomOf lists the packages that the lockfile installs into the image; nil without
// a lockfile of a known format.
func sbomOf(ctx context.Context, in Inputs) (any, error) {
	c := in.Closure
	if !lockfile.Known(c.Lockfile) {
		return nil, nil
	}
	data, err := in.Source.ReadFile(ctx, c.Lockfile)
	if err != nil {
		return nil, err
	}
	file, err := lockfile.Parse(c.Lockfile, data)
	if err != nil {
		return nil, err
	}
	lock := attest.Lock{File: file, Package: c.Package, Name: in.Image.Repository}
	for _, p := range c.Packages {
		lock.Closure = append(lock.Closure, p.Dir)
	}
	return attest.SBOM(lock)
}
