package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Publication is an image, and the tags under which people will find it.
type Publication struct {
	Repository string   // registry/owner/name, no tag
	Artifact   Artifact // a v1.Image or a v1.ImageIndex
	SHA        string   // of the commit: the first tag
	Tags       []string // further tags, as immutable as the first one
	// Attest is called when the registry holds the image and before a tag is
	// written; nil: nothing is attached.
	Attest func(ctx context.Context) error
}

// Published says what a Publish did.
type Published struct {
	Digest string   // sha256:…
	Pushed bool     // blobs or manifests were sent; false if the registry had them all
	Tagged []string // the tags that were written; those that stood already are not in it
}

// Publish pushes an image under tags that never move. A tag that is absent is
// written, one that names this very image is left alone, and one that names
// another is a *TagTakenError, found before anything is sent. Blobs go first,
// manifests by digest next, tags last and the SHA first among them: a push that
// is cut off leaves nothing that anyone would find. A *TagMovedError says that
// someone else wrote a tag in the same moment. A layer that cannot be read here
// is fine if the registry has it, else a *MissingBlobError.
func (c *Client) Publish(ctx context.Context, p Publication) (Published, error) {
	repo, err := parseRepository(p.Repository)
	if err != nil {
		return Published{}, err
	}
	digest, err := p.Artifact.Digest()
	if err != nil {
		return Published{}, fmt.Errorf("publish %s: %w", repo.Name(), err)
	}
	result := Published{Digest: digest.String()}
	tags, err := tagsOf(repo, append([]string{p.SHA}, p.Tags...))
	if err != nil {
		return result, err
	}
	s, err := c.session(ctx, repo, push)
	if err != nil {
		return result, err
	}
	open, err := c.free(ctx, s, tags, digest)
	if hidden(err) {
		open = tags // each is looked at again before it is written
	} else if err != nil {
		return result, err
	}
	if _, err := c.head(ctx, s, repo.Digest(digest.String())); err != nil {
		var none *NotFoundError
		if !errors.As(err, &none) && !hidden(err) {
			return result, err
		}
		if err := c.send(ctx, s, p.Artifact); err != nil {
			return result, err
		}
		result.Pushed = true
	}
	if p.Attest != nil {
		if err := p.Attest(ctx); err != nil {
			return result, err
		}
	}
	result.Tagged, err = c.write(ctx, s, open, p.Artifact)
	return result, err
}

// Tag gives tags to a manifest that the repository has, by the rules of Publish
// and without moving a blob, and returns those that were written. An absent
// digest is a *NotFoundError.
func (c *Client) Tag(ctx context.Context, repository, digest string, tags ...string) ([]string, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return nil, err
	}
	ref, err := parse(repo.Name() + "@" + digest)
	if err != nil {
		return nil, err
	}
	wanted, err := tagsOf(repo, tags)
	if err != nil {
		return nil, err
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("digest %q: %w", digest, err)
	}
	reading, err := c.session(ctx, repo, pull)
	if err != nil {
		return nil, err
	}
	open, err := c.free(ctx, reading, wanted, hash)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	s, err := c.session(ctx, repo, push)
	if err != nil {
		return nil, err
	}
	manifest, err := remote.Get(ref, s.options(ctx)...)
	if err != nil {
		return nil, c.explain(ctx, s, ref.Name(), err)
	}
	return c.write(ctx, s, open, fetched{manifest})
}

func tagsOf(repo name.Repository, names []string) ([]name.Tag, error) {
	tags := make([]name.Tag, 0, len(names))
	seen := map[string]bool{}
	for _, n := range names {
		tag, err := name.NewTag(repo.Name()+":"+n, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("tag %q: %s", n, oneLine(err.Error()))
		}
		if !seen[n] {
			seen[n] = true
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// free returns the tags that are still to be written. One that names another
// digest is a *TagTakenError.
func (c *Client) free(ctx context.Context, s *session, tags []name.Tag, digest v1.Hash) ([]name.Tag, error) {
	found := make([]string, len(tags))
	group, gctx := errgroup.WithContext(ctx)
	for i, tag := range tags {
		group.Go(func() (err error) { found[i], err = c.found(gctx, s, tag); return err })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var open []name.Tag
	for i, tag := range tags {
		switch found[i] {
		case "":
			open = append(open, tag)
		case digest.String():
		default:
			return nil, &TagTakenError{Ref: tag.Name(), Wanted: digest.String(), Found: found[i]}
		}
	}
	return open, nil
}

// hidden reports whether a registry refused to say if something is there. Some
// do so of a repository that is yet to be made by the first push to it.
func hidden(err error) bool {
	var refused *AuthError
	return errors.As(err, &refused) && !refused.Anonymous
}

// found is the digest that a tag names, or "" if there is no such tag.
func (c *Client) found(ctx context.Context, s *session, tag name.Tag) (string, error) {
	d, err := c.head(ctx, s, tag)
	var none *NotFoundError
	if errors.As(err, &none) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}

// write puts tags, each between two looks at it. No registry offers a
// conditional write, so a moment remains: a writer who looked before our PUT and
// puts after our second look moves the tag, and neither is told. What runs is
// named by digest, so this misleads people but never a release.
func (c *Client) write(ctx context.Context, s *session, tags []name.Tag, a Artifact) ([]string, error) {
	digest, err := a.Digest()
	if err != nil {
		return nil, err
	}
	var tagged []string
	for _, tag := range tags {
		open, err := c.free(ctx, s, []name.Tag{tag}, digest)
		if err != nil {
			return tagged, err
		}
		if len(open) == 0 {
			continue
		}
		if err := c.put(ctx, s, tag, a); err != nil {
			return tagged, err
		}
		if err := c.confirm(ctx, s, tag, digest); err != nil {
			return tagged, err
		}
		tagged = append(tagged, tag.TagStr())
	}
	return tagged, nil
}

// confirm looks at a tag after it was put. A registry of several machines may
// need a moment to show it.
func (c *Client) confirm(ctx context.Context, s *session, tag name.Tag, digest v1.Hash) error {
	for try := 1; ; try++ {
		found, err := c.found(ctx, s, tag)
		switch {
		case err != nil:
			return err
		case found == digest.String():
			return nil
		case found != "" || try == tries:
			return &TagMovedError{Ref: tag.Name(), Wanted: digest.String(), Found: found}
		}
		if err := c.sleep(ctx, backoff(try)); err != nil {
			return fmt.Errorf("push %s: %w", tag.Name(), err)
		}
	}
}

// put writes one manifest under a tag or a digest.
func (c *Client) put(ctx context.Context, s *session, ref name.Reference, a Artifact) error {
	raw, err := a.RawManifest()
	if err != nil {
		return fmt.Errorf("push %s: %w", ref.Name(), err)
	}
	media, err := a.MediaType()
	if err != nil {
		return fmt.Errorf("push %s: %w", ref.Name(), err)
	}
	u := s.url("manifests/" + ref.Identifier())
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("push %s: %w", ref.Name(), err)
	}
	req.Header.Set("Content-Type", string(media))
	resp, err := s.client.Do(req)
	if err != nil {
		return c.explain(ctx, s, ref.Name(), err)
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted); err != nil {
		return c.explain(ctx, s, ref.Name(), err)
	}
	return nil
}

// url is an address below the session's repository.
func (s *session) url(path string) *url.URL {
	return &url.URL{
		Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
		Path: fmt.Sprintf("/v2/%s/%s", s.repo.RepositoryStr(), path),
	}
}

// fetched is a manifest as it was read, without what hangs from it.
type fetched struct{ *remote.Descriptor }

func (f fetched) MediaType() (types.MediaType, error) { return f.Descriptor.MediaType, nil }
func (f fetched) Digest() (v1.Hash, error)            { return f.Descriptor.Digest, nil }
func (f fetched) Size() (int64, error)                { return f.Descriptor.Size, nil }
