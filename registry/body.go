package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	stallLimit = 30 * time.Second // within which stallBytes of a response, or its end, must arrive
	stallBytes = 4 << 10
	wholeBytes = 4 << 20 // a response of up to this size is read before it is returned
)

// errStalled is a response whose bytes arrive too slowly.
var errStalled = errors.New("its answer has stalled")

// steady aborts responses that stall. It reads small ones, such as manifests, to their
// end, so that an interrupted one is an error of the request, which can be repeated.
type steady struct {
	inner http.RoundTripper
	limit time.Duration
}

func (t steady) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return t.inner.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := &steadyBody{inner: resp.Body, ctx: ctx, cancel: cancel, limit: t.limit}
	body.timer = time.AfterFunc(t.limit, func() { cancel(errStalled) })
	resp.Body, resp.Request = body, req
	if resp.ContentLength < 0 || resp.ContentLength > wholeBytes {
		return resp, nil
	}
	defer body.Close()
	whole, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(whole))
	return resp, nil
}

// steadyBody cancels its request when it stalls.
type steadyBody struct {
	inner   io.ReadCloser
	ctx     context.Context //nolint:containedctx // of the one request that it is the answer of
	cancel  context.CancelCauseFunc
	limit   time.Duration
	timer   *time.Timer
	arrived int // since the timer was set
}

func (b *steadyBody) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	if b.arrived += n; b.arrived >= stallBytes {
		b.arrived = 0
		b.timer.Reset(b.limit)
	}
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (b *steadyBody) Close() error {
	b.timer.Stop()
	err := b.inner.Close()
	b.cancel(nil)
	return err
}
