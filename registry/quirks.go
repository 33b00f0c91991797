package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ghcr is GitHub's registry.
const ghcr = "ghcr.io"

// referrersQuirk answers 404 if a registry does not implement the referrers API
// properly. GHCR has no referrers API; it has redirected such requests to a
// rate-limited web page, so that a push failed or silently lost its index. So GHCR
// is never asked, and of other registries only an index is accepted. A 404 makes
// libraries use the referrers tag of the OCI specification.
type referrersQuirk struct{ inner http.RoundTripper }

func (t referrersQuirk) RoundTrip(req *http.Request) (*http.Response, error) {
	if !asksReferrers(req) {
		return t.inner.RoundTrip(req)
	}
	if req.URL.Hostname() == ghcr {
		return absent(req), nil
	}
	resp, err := t.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	page := resp.StatusCode == http.StatusOK && types.MediaType(strings.TrimSpace(media)) != types.OCIImageIndex
	if page || resp.StatusCode/100 == 3 {
		resp.Body.Close()
		return absent(req), nil
	}
	return resp, nil
}

func asksReferrers(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.HasPrefix(req.URL.Path, "/v2/") && strings.Contains(req.URL.Path, "/referrers/")
}

func absent(req *http.Request) *http.Response {
	return &http.Response{
		Status: "404 Not Found", StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: req,
	}
}

// plainHTTPGuard refuses to send requests over plain HTTP to another machine. The
// library would do so for private addresses, and send credentials.
type plainHTTPGuard struct{ inner http.RoundTripper }

func (t plainHTTPGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !loopback(req.URL.Hostname()) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, &PlainHTTPError{Host: req.URL.Host}
	}
	return t.inner.RoundTrip(req)
}

// pingPath is what a registry is asked first.
const pingPath = "/v2/"

var errSilent = errors.New("it accepts connections but sends nothing")

// pingLimit is a timeout for the first request to a registry, so that one that
// accepts connections and does not answer is reported soon.
type pingLimit struct {
	inner http.RoundTripper
	limit time.Duration
}

func (t pingLimit) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != pingPath {
		return t.inner.RoundTrip(req)
	}
	ctx, cancel := context.WithTimeout(req.Context(), t.limit)
	defer cancel()
	resp, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil && req.Context().Err() == nil {
			return nil, errSilent
		}
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(body)), req
	return resp, nil
}

// loopback reports whether a host, with or without a port, is this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
