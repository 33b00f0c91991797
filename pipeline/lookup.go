package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// lookup is what the registry has of an image.
type lookup struct {
	image    Image // the zero value if there is none
	tag      string
	trusted  bool // it is known to be made of the inputs
	attested bool // by provenance of our signer
}

// lookUp asks the registry for a build of the same inputs: under the tag of
// their key, or, where a run was killed before it wrote that tag, under the
// commit's SHA. Anybody with write access can put a tag on anything, so the
// image counts only if our signer's provenance says that it was made of this very
// key or, where nothing is signed, if the ledger's record does.
func (p Publisher) lookUp(ctx context.Context, in Inputs) (lookup, error) {
	var untrusted lookup
	for _, tag := range []string{inputsTag(in.Key), in.Source.SHA} {
		found, err := p.under(ctx, in, tag)
		if err != nil || found.trusted {
			return found, err
		}
		if tag != in.Source.SHA { // a commit may have had another image
			untrusted = found
		}
	}
	return untrusted, nil
}

// under is what the registry has under a tag.
func (p Publisher) under(ctx context.Context, in Inputs, tag string) (lookup, error) {
	digest, aliases, err := p.Registry.Find(ctx, in.Image.Repository+":"+tag)
	var (
		missing *registry.NotFoundError
		denied  *registry.AuthError
	)
	// A registry may deny what is not there yet; whether it is a denial shows at the push.
	if errors.As(err, &missing) || errors.As(err, &denied) {
		return lookup{}, nil
	}
	if err != nil {
		return lookup{}, err
	}
	found := lookup{image: p.named(in, digest, aliases), tag: tag}
	if p.Signer != nil && (p.Signer.Signs() || p.Signer.HasPolicy()) {
		found.attested, err = p.Signer.MadeFrom(ctx, found.image.Reference, in.Key)
		found.trusted = found.attested
		return found, err
	}
	found.trusted = p.Known != nil && p.Known(ctx, in.Key, digest)
	return found, nil
}

// compare is the built image, if the one that was found is the same or none was.
func (l lookup) compare(built Image) (Image, error) {
	switch l.image.Digest {
	case "":
		return built, nil
	case built.Digest:
		built.Built = false // the registry knew it
		return built, nil
	}
	return Image{}, release.Refuse([]release.Finding{{
		Code: release.CodeImageForeign, Severity: release.Refuses, Object: l.image.Repository + ":" + l.tag, Fixed: true,
		Message: fmt.Sprintf("names %s, which no provenance or record says was made of these inputs; the build gives %s",
			release.ShortDigest(l.image.Digest), release.ShortDigest(built.Digest)),
		Hint: "find out who pushed it, and delete the tag; `shipit build --check-reproducible` shows whether the build itself differs",
	}}, nil)
}
