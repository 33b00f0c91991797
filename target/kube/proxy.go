package kube

import (
	"context"
	"net/http"

	"github.com/joelhooks/shipit/release"
)

// Request is one HTTP request to a pod of a role.
type Request struct {
	Method  string // default GET
	Port    int
	Path    string // with its query
	Headers map[string]string
	Body    string
}

// Response is what the pod answered.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Get sends a request to one ready pod of the role, through the API server. An
// answer of any status is no error.
func (c *Cluster) Get(ctx context.Context, role release.Role, r Request) (Response, error) {
	panic("being written")
}
