package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// upload sends a blob unless the repository has it. An interrupted upload continues at
// the offset that the registry reports, or else from the start.
func (c *Client) upload(ctx context.Context, s *session, b blob, m *meter) error {
	u := &upload{session: s, blob: b, meter: m, ref: s.repo.Name() + "@" + b.digest.String()}
	for try := 1; ; try++ {
		err := u.attempt(ctx)
		if err == nil {
			return nil
		}
		if try == tries || !u.repeatable(ctx, err) {
			if cause := u.unreadable(); cause != nil && ctx.Err() == nil {
				return &MissingBlobError{Repository: s.repo.Name(), Digest: b.digest.String(), Cause: cause}
			}
			return c.explain(ctx, s, u.ref, err)
		}
		wait := backoff(try)
		var again *busyError
		if errors.As(err, &again) {
			wait = again.after
			again.report(c.progress)
		}
		if err := c.sleep(ctx, wait); err != nil {
			return fmt.Errorf("push %s: %w", u.ref, err)
		}
	}
}

// upload is the upload of one blob.
type upload struct {
	*session
	blob  blob
	meter *meter
	ref   string

	location string // URL for the bytes; "" before the start

	// The mutex is needed because a transport may read a body after it has returned.
	mu     sync.Mutex
	sent   int64 // bytes that the meter has counted
	unread error // why the blob cannot be read on this machine
}

// attempt starts or continues the upload. After an error, the next attempt continues
// if location is set.
func (u *upload) attempt(ctx context.Context) error {
	offset := u.resume(ctx)
	if u.location == "" {
		there, err := u.exists(ctx)
		if err != nil {
			return err
		}
		if there {
			u.count(u.blob.size)
			return nil
		}
		mounted, err := u.start(ctx)
		if err != nil {
			return err
		}
		if mounted {
			u.count(u.blob.size)
			return nil
		}
	}
	if err := u.patch(ctx, offset); err != nil {
		return err
	}
	return u.commit(ctx)
}

// resume asks how many bytes of an interrupted upload have arrived. If the registry
// cannot tell, the upload starts over.
func (u *upload) resume(ctx context.Context) (offset int64) {
	if u.location == "" {
		return 0
	}
	at := u.location
	u.location = ""
	resp, err := u.do(ctx, http.MethodGet, at, nil, 0)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	_, end, ok := strings.Cut(resp.Header.Get("Range"), "-")
	last, err := strconv.ParseInt(end, 10, 64)
	if resp.StatusCode != http.StatusNoContent || !ok || err != nil || last <= 0 || last >= u.blob.size {
		return 0
	}
	if err := u.follow(resp); err != nil {
		u.location = at
	}
	return last + 1
}

// exists reports whether the registry has the blob. If its size differs, that is a
// *CorruptError: the registry lost a part of it.
func (u *upload) exists(ctx context.Context) (bool, error) {
	resp, err := u.do(ctx, http.MethodHead, u.url("blobs/"+u.blob.digest.String()).String(), nil, 0)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return false, nil
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return false, err
	}
	if resp.ContentLength >= 0 && resp.ContentLength != u.blob.size {
		return false, &CorruptError{Ref: u.ref, Detail: fmt.Sprintf("the registry has %d bytes of it, not %d", resp.ContentLength, u.blob.size)}
	}
	return true, nil
}

// start begins an upload, or mounts a layer from another repository of the same
// registry if the registry supports that.
func (u *upload) start(ctx context.Context) (mounted bool, err error) {
	at := u.url("blobs/uploads/")
	from, ok := u.blob.Layer.(*remote.MountableLayer)
	mount := ok && from.Reference.Context().RegistryStr() == u.repo.RegistryStr()
	if mount {
		at.RawQuery = url.Values{"mount": {u.blob.digest.String()}, "from": {from.Reference.Context().RepositoryStr()}}.Encode()
	}
	resp, err := u.do(ctx, http.MethodPost, at.String(), nil, 0)
	if err == nil && mount && resp.StatusCode/100 == 4 {
		resp.Body.Close()
		at.RawQuery = ""
		resp, err = u.do(ctx, http.MethodPost, at.String(), nil, 0)
	}
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusCreated, http.StatusAccepted); err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	return false, u.follow(resp)
}

// patch sends the blob's bytes from offset on.
func (u *upload) patch(ctx context.Context, offset int64) error {
	u.rewind(offset)
	read := func() (io.ReadCloser, error) { return u.open(offset) }
	resp, err := u.do(ctx, http.MethodPatch, u.location, read, offset)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = transport.CheckError(resp, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if err != nil {
		u.location = "" // it was refused, not interrupted
		return err
	}
	return u.follow(resp)
}

// commit completes the upload with the blob's digest, which the registry checks.
func (u *upload) commit(ctx context.Context) error {
	at, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	u.location = ""
	query := at.Query()
	query.Set("digest", u.blob.digest.String())
	at.RawQuery = query.Encode()
	resp, err := u.do(ctx, http.MethodPut, at.String(), nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return transport.CheckError(resp, http.StatusCreated, http.StatusNoContent)
}

func (u *upload) do(ctx context.Context, method, at string, read func() (io.ReadCloser, error), offset int64) (*http.Response, error) {
	var body io.ReadCloser
	if read != nil {
		var err error
		if body, err = read(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return nil, err
	}
	if read != nil {
		req.GetBody, req.ContentLength = read, u.blob.size-offset
		req.Header.Set("Content-Type", "application/octet-stream")
		if offset > 0 {
			req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, u.blob.size-1))
		}
	}
	return u.client.Do(req)
}

// open reads the blob on this machine, from offset on.
func (u *upload) open(offset int64) (io.ReadCloser, error) {
	rc, err := u.blob.Compressed()
	if err == nil && offset > 0 {
		_, err = io.CopyN(io.Discard, rc, offset)
	}
	if err != nil {
		u.fail(err)
		return nil, err
	}
	return &counted{ReadCloser: rc, upload: u}, nil
}

// follow takes the URL of the next request from a response. A registry may name another
// host, but not switch from HTTPS to HTTP.
func (u *upload) follow(resp *http.Response) error {
	next, err := resp.Location()
	if err != nil {
		return fmt.Errorf("the registry gives no valid upload URL: %w", err)
	}
	if resp.Request.URL.Scheme == "https" && next.Scheme != "https" {
		return &PlainHTTPError{Host: next.Host}
	}
	u.location = next.String()
	return nil
}

// repeatable reports whether an upload that failed may be tried again.
func (u *upload) repeatable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if cause := u.unreadable(); cause != nil {
		// A base layer is read from another registry while it is sent to this one.
		_, distant := u.blob.Layer.(*remote.MountableLayer)
		return distant && broke(ctx, cause)
	}
	var again *busyError
	if errors.As(err, &again) {
		return true
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		// An upload that the registry no longer knows starts over.
		return !refuses(answer) && (answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusRequestedRangeNotSatisfiable)
	}
	var wire *url.Error
	return errors.As(err, &wire) && typed(err) == nil && passing(wire.Err)
}

// broke reports whether a transfer was interrupted, so that it may be repeated.
func broke(ctx context.Context, err error) bool {
	var disk *os.PathError
	return ctx.Err() == nil && typed(err) == nil && !errors.As(err, &disk) && !mismatch(err) && passing(err)
}
