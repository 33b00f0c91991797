package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/joelhooks/shipit/release"
)

const (
	tries = 5 // of one request, the first one included
	// longestWait limits the Retry-After of a registry. Beyond it the request fails at
	// once, with an error that names the time.
	longestWait = 2 * time.Minute
)

// retrier repeats a request if the registry is busy or the connection broke, after
// the time in Retry-After or with backoff. It stops with the context. Uploads are
// repeated by their own loop, which knows how many bytes have arrived. A registry
// that is away is asked once.
type retrier struct {
	away     away
	inner    http.RoundTripper
	sleep    func(context.Context, time.Duration) error
	progress release.Progress
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		attempt, err := fresh(req)
		if err != nil {
			return nil, err
		}
		gone := r.away.has(req.URL.Host)
		resp, err := r.send(attempt, gone)
		wait, failure := r.assess(req, resp, err, try)
		r.remember(req, err, wait, failure)
		if failure == nil {
			return resp, err
		}
		if wait < 0 || gone {
			return nil, failure
		}
		if err := r.sleep(req.Context(), wait); err != nil {
			r.remember(req, err, wait, nil)
			return nil, err
		}
	}
}

func (r *retrier) send(req *http.Request, gone bool) (*http.Response, error) {
	if gone {
		return shortly(r.inner, req)
	}
	return r.inner.RoundTrip(req)
}

// remember notes what the end of a request says of its registry.
func (r *retrier) remember(req *http.Request, err error, wait time.Duration, failure error) {
	switch {
	case failure == nil && err == nil:
		// Many a server that is in trouble answers what needs no content.
		if req.URL.Path != pingPath && req.Method != http.MethodHead {
			r.away.remove(req.URL.Host)
		}
	case errors.Is(req.Context().Err(), context.Canceled):
		// Nobody waits for the answer any more.
	case err != nil && req.Context().Err() != nil, failure == nil && unanswered(err), failure != nil && wait < 0 && repeatable(req):
		r.away.add(req.URL.Host)
	}
}

// unanswered reports whether a request waited for an answer or a connection in vain.
func unanswered(err error) bool {
	var (
		op   *net.OpError
		late interface{ Timeout() bool }
	)
	return errors.Is(err, errSilent) || errors.Is(err, errStalled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &op) && op.Op == "dial" || errors.As(err, &late) && late.Timeout()
}

// assess decides whether an attempt is repeated. A nil error means that the result of
// the attempt stands. Otherwise the duration is the time until the next attempt;
// negative if there is none.
func (r *retrier) assess(req *http.Request, resp *http.Response, err error, try int) (time.Duration, error) {
	host := req.URL.Host
	if err != nil {
		if req.Context().Err() != nil || !passing(err) || !repeatable(req) {
			return 0, nil
		}
		if try == tries {
			return -1, &UnreachableError{Host: host, Temporary: true, Cause: fmt.Errorf("%w, after %d tries", innermost(err), try)}
		}
		return backoff(try), err
	}
	if !busy(resp.StatusCode) {
		return 0, nil
	}
	said := answerOf(resp)
	asked, _ := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	wait := max(asked, backoff(try))
	failure := &busyError{
		UnreachableError: UnreachableError{Host: host, Temporary: true, Cause: errors.New(said)},
		after:            wait, asked: asked > 0,
	}
	deadline, bounded := req.Context().Deadline()
	switch {
	case asked > longestWait:
		failure.Cause = fmt.Errorf("%s, and asks to come back in %s", said, asked.Round(time.Second))
		return -1, &failure.UnreachableError
	case bounded && time.Now().Add(wait).After(deadline):
		failure.Cause = fmt.Errorf("%s, and there is no time left to wait %s", said, wait.Round(time.Second))
		return -1, &failure.UnreachableError
	case !repeatable(req):
		return -1, failure
	case try == tries:
		failure.Cause = fmt.Errorf("%s, after %d tries", said, try)
		return -1, &failure.UnreachableError
	}
	failure.report(r.progress)
	return wait, failure
}

// busyError is a busy registry's answer to a request that the caller repeats itself,
// with the time to wait.
type busyError struct {
	UnreachableError
	after time.Duration
	asked bool // the registry named the time
}

func (e *busyError) Unwrap() error { return &e.UnreachableError }

// report reports a wait that the registry asked for; those of backoff are short.
func (e *busyError) report(p release.Progress) {
	if e.asked {
		p.Report(release.Event{
			Phase: release.PhasePush, Mark: release.MarkNote,
			Message: fmt.Sprintf("%s: %s; waiting %s", e.Host, oneLine(e.Cause.Error()), e.after.Round(time.Second)),
		})
	}
}

// fresh is the request with an unread body: an outer transport may have sent it
// before, with an expired token.
func fresh(req *http.Request) (*http.Request, error) {
	if req.GetBody == nil {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	attempt := req.Clone(req.Context())
	attempt.Body = body
	return attempt, nil
}

// repeatable reports whether a request may be repeated unchanged. A PATCH with a part
// of a blob may not: the registry may have stored some of it.
func repeatable(req *http.Request) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	upload := strings.Contains(req.URL.Path, "/blobs/uploads/")
	return req.Method != http.MethodPatch && !(upload && req.Method == http.MethodPut)
}

func busy(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// passing reports whether a failed request may succeed the next time. If no connection
// could be made, it is not repeated, so that an absent registry is reported at once.
func passing(err error) bool {
	var (
		op     *net.OpError
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		host   x509.HostnameError
		plain  *PlainHTTPError
		late   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errStalled), errors.As(err, &late) && late.Timeout():
		return false // it was given its time
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &op) && op.Op == "dial":
		return false
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &host), errors.As(err, &plain):
		return false
	case strings.Contains(err.Error(), speaksHTTP):
		return false
	}
	return true
}

// answerOf is a busy registry's answer in one line; it reads the body.
func answerOf(resp *http.Response) string {
	defer resp.Body.Close()
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	var said transport.Error
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err == nil && json.Unmarshal(body, &said) == nil && len(said.Errors) > 0 && said.Errors[0].Message != "" {
		status += " (" + oneLine(said.Errors[0].Message) + ")"
	}
	return status
}

// retryAfter reads a Retry-After header, in seconds or as a date.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// backoff is 0.5, 1, 2, 4 s, each with up to a quarter of jitter.
func backoff(try int) time.Duration {
	d := 500 * time.Millisecond << (try - 1)
	return d + rand.N(d/4)
}

// sleep waits for d, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
