package kube

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// Observe reads what runs for a role now.
func (c *Cluster) Observe(ctx context.Context, role release.Role) (release.Live, error) {
	panic("being written")
}

// Drift lists the fields of the role's objects that another hand has changed.
func (c *Cluster) Drift(ctx context.Context, role release.Role) ([]release.Drift, error) {
	panic("being written")
}
