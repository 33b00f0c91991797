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

// Publication is an image and its tags.
type Publication struct {
	Repository string   // registry/owner/name, no tag
	Artifact   Artifact // a v1.Image or a v1.ImageIndex
	SHA        string   // of the commit: the first tag
	Tags       []string // further tags, as immutable as the first one
	// Attest is called when the registry has the image and before a tag is written;
	// nil attaches nothing.
	Attest func(ctx context.Context) error
}

// Published is the result of Publish.
type Published struct {
	Digest string   // sha256:…
	Pushed bool     // blobs or manifests were sent; false if the registry had them all
	Tagged []string // the tags that were written, without those that existed
}

// Publish pushes an image under tags that never move. It writes absent tags and
// leaves tags that name this image. A tag that names another image is a
// *TagTakenError before anything is sent. Blobs are sent first, then manifests by
// digest, then the tags, the SHA first: an interrupted push leaves no tag. A
// *TagMovedError says that someone else wrote a tag at the same time. A layer that
// cannot be read on this machine is a *MissingBlobError, unless the registry has it.
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
		open = tags // each is read again before it is written
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

// Tag writes tags for a manifest that the repository has, by the rules of Publish,
// and returns those that were written. An absent digest is a *NotFoundError.
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

// free returns the tags that do not exist. A tag that names another digest is a
// *TagTakenError.
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

// hidden reports whether a registry denies access, which may mean that something does
// not exist: some deny access to a repository until the first push creates it.
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

// write writes tags and reads each before and after. No registry offers a conditional
// write, so a race remains: a writer who read the tag before our PUT and writes it
// after our second read moves it unnoticed. What runs is named by digest, so this
// may mislead humans but never a release.
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

// confirm reads a tag after it was written. A registry of several machines may need a
// moment to show it.
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

// url is a URL below the session's repository.
func (s *session) url(path string) *url.URL {
	return &url.URL{
		Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
		Path: fmt.Sprintf("/v2/%s/%s", s.repo.RepositoryStr(), path),
	}
}

// fetched is only the manifest that was read, without its layers.
type fetched struct{ *remote.Descriptor }

func (f fetched) MediaType() (types.MediaType, error) { return f.Descriptor.MediaType, nil }
func (f fetched) Digest() (v1.Hash, error)            { return f.Descriptor.Digest, nil }
func (f fetched) Size() (int64, error)                { return f.Descriptor.Size, nil }
