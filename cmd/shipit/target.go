package main

import (
	"context"
	"io"
	"net/http"

	"github.com/joelhooks/shipit/release"
)

// target is a place where roles run: a cluster or a machine.
type target interface {
	// Preflight says what would go wrong, changing nothing.
	Preflight(ctx context.Context, rel release.Release, roles []release.Role) ([]release.Finding, error)
	// Prepare brings what the role needs to the place; what runs is not touched.
	Prepare(ctx context.Context, role release.Role) error
	// Switch makes the place run the role and waits until it does. A
	// *release.Failure says that it never will.
	Switch(ctx context.Context, rel release.Release, role release.Role) (release.Live, error)
	// Observe reads what runs now.
	Observe(ctx context.Context, role release.Role) (release.Live, error)
	// Drift says what another hand has changed of the role's objects.
	Drift(ctx context.Context, role release.Role) ([]release.Drift, error)
	// Withdraw takes a role away again that no good release had.
	Withdraw(ctx context.Context, role release.Role) error
	// Diff says what Switch would change, and what of it would be refused.
	Diff(ctx context.Context, rel release.Release, role release.Role) ([]change, []release.Finding, error)
	// Do sends an HTTP request to the role itself; its URL holds port, path and query.
	Do(ctx context.Context, role release.Role, req *http.Request) (*http.Response, error)
	// Settled tells the place that a release settled, so that it can tidy up.
	Settled(ctx context.Context, role release.Role, good []release.Record) error
	io.Closer
}
