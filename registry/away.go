package registry

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	awayTime  = time.Minute     // that a registry counts as away after it failed for good
	awayLimit = 2 * time.Second // of the answer of one that is away
)

// away knows the registries that failed for good a short while ago, after all tries
// or without an answer in time. Such a one is asked once and not for long, so that a
// run which can do without it does not wait for it again and again.
type away struct {
	mu    sync.Mutex
	since map[string]time.Time // by host
}

func (a *away) has(host string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, known := a.since[host]
	return known && time.Since(since) < awayTime
}

func (a *away) add(host string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since == nil {
		a.since = map[string]time.Time{}
	}
	a.since[host] = time.Now()
}

// remove says that a registry answered.
func (a *away) remove(host string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.since, host)
}

// shortly sends a request that must be answered within awayLimit. One with a body
// has the time that its body takes.
func shortly(inner http.RoundTripper, req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		return inner.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(awayLimit, func() { cancel(errSilent) })
	resp, err := inner.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == errSilent { //nolint:errorlint // it is this one or none
			err = errSilent
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = cancelled{resp.Body, cancel}
	return resp, nil
}

// cancelled is a body whose end is the end of its request.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (c cancelled) Close() error {
	err := c.ReadCloser.Close()
	c.cancel(nil)
	return err
}
