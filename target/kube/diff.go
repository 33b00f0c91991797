package kube

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// Change is what an apply would do to one object.
type Change struct {
	Object ID
	Action Action
	Lines  []string // "- path: value" and "+ path: value", secrets masked
}

// Plan is what a release would do to a role's objects, as the server answers a dry run.
type Plan struct {
	Changes  []Change          // without the unchanged ones
	Findings []release.Finding // what the server would refuse
}

// Diff tries every object of the role on the server and changes nothing.
func (c *Cluster) Diff(ctx context.Context, role release.Role, o ApplyOptions) (Plan, error) {
	panic("being written")
}
