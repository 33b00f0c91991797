package registry

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ImageFor reads the image that ref names. Of an index it is the image for platform
// ("linux/amd64"). If there is none, it is the linux image for the same architecture,
// or else the only image: scripts run on any platform.
func (c *Client) ImageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	_, arch, _ := strings.Cut(platform, "/")
	var err error
	for _, p := range []string{platform, "linux/" + arch, ""} {
		var image v1.Image
		if image, err = c.imageFor(ctx, ref, p); err == nil {
			return image, nil
		}
	}
	return nil, err
}

func (c *Client) imageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return nil, err
	}
	if image, ok := a.(v1.Image); ok {
		return image, nil
	}
	var want *v1.Platform
	if platform != "" {
		if want, err = v1.ParsePlatform(platform); err != nil {
			return nil, fmt.Errorf("platform %q: %s", platform, oneLine(err.Error()))
		}
	}
	var found []v1.Image
	err = eachImage(a, func(p *v1.Platform, image v1.Image) error {
		if want == nil || (p != nil && p.Satisfies(*want)) {
			found = append(found, image)
		}
		return nil
	})
	if err != nil {
		return nil, c.reading(ctx, ref, err)
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%s has no image for %s", ref, platform)
	case len(found) > 1 && want == nil:
		return nil, fmt.Errorf("%s has images for %d platforms: one must be named", ref, len(found))
	}
	return found[0], nil
}
