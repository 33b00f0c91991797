package registry

import (
	"net/http"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// guarded calls release.BeforeWrite before every request that changes the registry.
type guarded struct{ next http.RoundTripper }

func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	switch req.Method {
	case http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		return g.next.RoundTrip(req)
	}
	part := "blobs"
	if strings.Contains(req.URL.Path, "/manifests/") {
		part = "manifests"
	}
	done, err := release.BeforeWrite(req.Context(), release.Write("registry "+req.Method+" "+part))
	if err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	done()
	return resp, err
}
