package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	attempts     = 6                // of one request
	attemptLimit = 10 * time.Second // of one attempt
	longestWait  = 15 * time.Second // before a retry, whatever the server asks for
)

// newClient retries with backoff what may pass: an answer of 5xx or 429, a rate limit of
// GitHub, no answer. It follows no redirect, which would lead elsewhere.
func newClient(o Options) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.Logger, c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = nil, attempts-1, o.wait, longestWait
	c.HTTPClient.Timeout = attemptLimit
	c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if o.transport != nil {
		c.HTTPClient.Transport = o.transport
	}
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if resp != nil && ctx.Err() == nil && limited(resp) {
			return true, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	c.Backoff = func(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
		if resp != nil && limited(resp) {
			if wait, told := waitOf(resp, time.Now()); told {
				return min(wait, most)
			}
		}
		return min(retryablehttp.DefaultBackoff(least, most, attempt, resp), most)
	}
	return c
}

// send sends a request, and again where that may help, and returns the body of a success.
// An error tells the last answer, also where the time was over before the next attempt.
func send(c *retryablehttp.Client, req *retryablehttp.Request) ([]byte, error) {
	var seen *statusError
	c.ResponseLogHook = func(_ retryablehttp.Logger, resp *http.Response) {
		seen = &statusError{status: resp.StatusCode, limited: limited(resp)}
	}
	body, err := answerOf(c.Do(req))
	var answer *statusError
	switch {
	case err == nil || req.Context().Err() == nil || errors.As(err, &answer):
		return body, err
	case seen != nil && seen.status/100 != 2:
		return body, fmt.Errorf("no success before the command ended, the last answer was %w", seen)
	default:
		return body, errors.New("no answer before the command ended")
	}
}

// limited reports whether an answer is GitHub's of a rate limit, which is 403 or 429.
func limited(resp *http.Response) bool {
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusForbidden && (resp.Header.Get("Retry-After") != "" || resp.Header.Get("X-RateLimit-Remaining") == "0")
}

// waitOf is how long a rate limit asks to wait.
func waitOf(resp *http.Response, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return 0, false
	}
	return max(time.Unix(reset, 0).Sub(now), 0), true
}

// statusError is an answer that is no success.
type statusError struct {
	status  int
	message string // as the server says it, one short line
	limited bool   // it is that of a rate limit
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// answerOf reads an answer, at most 1 MiB. An error names no address: one may be secret.
func answerOf(resp *http.Response, err error) ([]byte, error) {
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return body, &statusError{status: resp.StatusCode, limited: limited(resp)}
	}
	return body, nil
}
