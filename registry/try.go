package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// CanPush asks for an upload to a repository and cancels it: nil if the credentials
// suffice, an *AuthError if not.
func (c *Client) CanPush(ctx context.Context, repository string) error {
	repo, err := parseRepository(repository)
	if err != nil {
		return err
	}
	s, err := c.session(ctx, repo, push)
	if err != nil {
		return err
	}
	at := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/blobs/uploads/", repo.RepositoryStr())}
	resp, err := s.send(ctx, http.MethodPost, at.String())
	if err != nil {
		return c.explain(ctx, s, repo.Name(), err)
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusAccepted, http.StatusCreated); err != nil {
		return c.explain(ctx, s, repo.Name(), err)
	}
	if location, err := resp.Location(); err == nil {
		// A registry forgets an upload that is not cancelled by itself.
		if cancelled, err := s.send(ctx, http.MethodDelete, location.String()); err == nil {
			cancelled.Body.Close()
		}
	}
	return nil
}

func (s *session) send(ctx context.Context, method, at string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, http.NoBody)
	if err != nil {
		return nil, err
	}
	return s.client.Do(req)
}

// CanRead asks for the manifest of ref with the caller's own credentials: nil if it is
// there and they suffice, an *AuthError or a *NotFoundError if not.
func (c *Client) CanRead(ctx context.Context, ref string) error {
	return c.CanPull(ctx, ref, c.keychain)
}

// Clock is the time by the registry of a repository.
func (c *Client) Clock(ctx context.Context, repository string) (time.Time, error) {
	repo, err := name.NewRepository(repository, name.StrictValidation)
	if err != nil {
		return time.Time{}, err
	}
	at := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return time.Time{}, &UnreachableError{Host: repo.RegistryStr(), Cause: innermost(err)}
	}
	defer resp.Body.Close()
	return http.ParseTime(resp.Header.Get("Date"))
}
