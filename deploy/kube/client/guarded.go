package client

import (
	"net/http"
	"path"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// guarded lets every request that changes the cluster pass the guards of its
// context first.
type guarded struct{ next http.RoundTripper }

func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if !changes(req) {
		return g.next.RoundTrip(req)
	}
	done, err := release.BeforeWrite(req.Context(), release.Write("kubernetes "+req.Method+" "+resourceOf(req.URL.Path)))
	if err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	done()
	return resp, err
}

// changes reports whether a request can change what the cluster holds: dry runs
// and questions about rights cannot, and what a pod is asked through the proxy is
// a probe.
func changes(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return req.URL.Query().Get("dryRun") == "" && !strings.Contains(req.URL.Path, "/authorization.k8s.io/") && !strings.Contains(req.URL.Path, "/proxy/")
}

// resourceOf is the resource in the path of a request: "deployments".
func resourceOf(p string) string {
	words := strings.Split(strings.Trim(p, "/"), "/")
	for i, w := range words {
		if w == "namespaces" && i+2 < len(words) {
			return words[i+2]
		}
	}
	return path.Base(path.Dir(p))
}
