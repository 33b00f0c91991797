package kube

import (
	"context"
	"time"

	"github.com/joelhooks/shipit/release"
)

// WaitOptions say how long a role is waited for.
type WaitOptions struct {
	Timeout  time.Duration // default 5 minutes
	Progress release.Progress
}

// Wait returns when the role's new revision serves, and what serves then. The
// error is a *release.Failure when it failed for good or the time is over.
// Objects that the release no longer has are pruned only when all is ready, so
// that what serves goes on serving until then.
func (c *Cluster) Wait(ctx context.Context, role release.Role, a Applied, o WaitOptions) (release.Live, error) {
	panic("being written")
}
