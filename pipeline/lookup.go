package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// lookup is the image that the registry has for some inputs.
type lookup struct {
	image    Image // the zero value if there is none
	tag      string
	trusted  bool // provenance or a record says that it was built from the inputs
	attested bool // it is trusted by provenance of our signer
}

// lookUp asks the registry for an image of the same inputs: under the tag of their
// key, or under the commit's SHA in case a run was killed before it wrote that tag.
// Anybody with write access can put a tag on any image. So the image counts only if
// provenance of a trusted signer says that it was built from this key or, when
// nothing is signed, if a ledger record says so.
func (p Publisher) lookUp(ctx context.Context, in Inputs) (lookup, error) {
	var untrusted lookup
	for _, tag := range []string{inputsTag(in.Key), in.Source.SHA} {
		found, err := p.under(ctx, in, tag)
		if err != nil || found.trusted {
			return found, err
		}
		if tag != in.Source.SHA { // an image of other inputs may have the commit's tag
			untrusted = found
		}
	}
	return untrusted, nil
}

// under returns the image that the registry has under a tag.
func (p Publisher) under(ctx context.Context, in Inputs, tag string) (lookup, error) {
	digest, aliases, err := p.Registry.Find(ctx, in.Image.Repository+":"+tag)
	var (
		missing *registry.NotFoundError
		denied  *registry.AuthError
	)
	// Some registries deny access to a repository that does not exist yet. A real
	// denial shows at the push.
	if errors.As(err, &missing) || errors.As(err, &denied) {
		return lookup{}, nil
	}
	if err != nil {
		return lookup{}, err
	}
	found := lookup{image: p.imageFor(in, digest, aliases), tag: tag}
	if p.Signer != nil && (p.Signer.Signs() || p.Signer.HasPolicy()) {
		found.attested, err = p.Signer.MadeFrom(ctx, found.image.Reference, in.Key)
		found.trusted = found.attested
		return found, err
	}
	found.trusted = p.Recorded != nil && p.Recorded(ctx, in.Key, digest)
	return found, nil
}

// compare returns the built image. If the registry has another one, it refuses.
func (l lookup) compare(built Image) (Image, error) {
	switch l.image.Digest {
	case "":
		return built, nil
	case built.Digest:
		built.Built = false // the registry already had it
		return built, nil
	}
	return Image{}, release.Refuse([]release.Finding{{
		Code: release.CodeImageForeign, Severity: release.Refuses, Object: l.image.Repository + ":" + l.tag, Fixed: true,
		Message: fmt.Sprintf("names %s, which by no provenance or record was built from these inputs; the build gives %s",
			release.ShortDigest(l.image.Digest), release.ShortDigest(built.Digest)),
		Hint: "find out who pushed it, and delete the tag; `shipit build --check-reproducible` shows whether the build itself differs",
	}}, nil)
}
