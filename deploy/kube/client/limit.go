package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// requestLimit is how long one request may take that is no stream. An API server
// gives an admission webhook half a minute.
const requestLimit = 40 * time.Second

// silentError is a request that was sent and not answered in time. It is not
// repeated: it was given its time.
type silentError struct{ limit time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("it takes requests and does not answer within %s", e.limit)
}

// limited ends requests that are not answered to their end in time. Watches and
// connections to pods last as long as their context.
type limited struct {
	next  http.RoundTripper
	limit time.Duration
}

func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	if streams(req) {
		return l.next.RoundTrip(req)
	}
	ctx, cancel := context.WithTimeoutCause(req.Context(), l.limit, &silentError{l.limit})
	resp, err := l.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = causeOf(ctx, err)
		cancel()
		return nil, err
	}
	resp.Body = limitedBody{resp.Body, ctx, cancel}
	return resp, nil
}

func streams(req *http.Request) bool {
	if req.URL.Query().Get("watch") != "" || req.URL.Query().Get("follow") != "" || req.Header.Get("Upgrade") != "" {
		return true
	}
	for _, part := range []string{"/proxy", "/portforward", "/exec", "/attach"} {
		if strings.HasSuffix(req.URL.Path, part) || strings.Contains(req.URL.Path, part+"/") {
			return true
		}
	}
	return false
}

// causeOf is the silentError of a request that ran into its limit, or err.
func causeOf(ctx context.Context, err error) error {
	var silent *silentError
	if errors.As(context.Cause(ctx), &silent) {
		return silent
	}
	return err
}

type limitedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the one request that it is the answer of
	cancel context.CancelFunc
}

func (b limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(b.ctx, err)
	}
	return n, err
}

func (b limitedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
