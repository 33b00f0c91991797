package kube

import (
	"context"

	"github.com/joelhooks/shipit/release"
)

// PreflightOptions give what a preflight cannot know by itself.
type PreflightOptions struct {
	App       string
	Namespace string // of the lock and the records
	// CanPull tries to read an image's manifest by reference with the content of a
	// pull secret, nil for none. A nil func skips the check.
	CanPull func(ctx context.Context, ref string, dockerConfigJSON []byte) error
	// Platforms lists the os/arch of an image. A nil func skips the check.
	Platforms func(ctx context.Context, ref string) ([]string, error)
}

// Preflight finds what would make the release fail, before anything changes.
func (c *Cluster) Preflight(ctx context.Context, rel release.Release, o PreflightOptions) ([]release.Finding, error) {
	panic("being written")
}

// Rules is the least Role, as YAML, that suffices to release, watch, lock and
// roll back rel; a ClusterRole besides where objects without a namespace need one.
func (c *Cluster) Rules(rel release.Release, o PreflightOptions) ([]byte, error) {
	panic("being written")
}
