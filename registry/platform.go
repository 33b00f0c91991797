package registry

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// NoPlatformError says that an image or index has nothing for a platform.
type NoPlatformError struct {
	Ref      string
	Platform string   // that was asked for, as os/arch
	Has      []string // those that there are
}

func (e *NoPlatformError) Error() string {
	return fmt.Sprintf("%s has no image for %s, only for %s", e.Ref, e.Platform, strings.Join(e.Has, ", "))
}

// Hint is what to do about it.
func (e *NoPlatformError) Hint() string {
	return "add " + e.Platform + " to images.*.platforms and release again"
}

// ImageFor reads the image that ref names for a platform such as linux/amd64. If there is
// none, the error is a *NoPlatformError: native parts of packages run on no other.
func (c *Client) ImageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	want, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %s", platform, oneLine(err.Error()))
	}
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return nil, err
	}
	var found v1.Image
	missing := &NoPlatformError{Ref: ref, Platform: platform}
	err = eachImage(a, func(p *v1.Platform, image v1.Image) error {
		of, err := platformOf(p, image)
		if err != nil {
			return err
		}
		missing.Has = append(missing.Has, of.String())
		if found == nil && of.Satisfies(*want) {
			found = image
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, c.reading(ctx, ref, err)
	case found == nil:
		return nil, missing
	}
	return found, nil
}

// unknown is the system and the architecture of what is for no platform, as indexes have it.
const unknown = "unknown"

// platformOf is the platform of an image: that of its index, or outside an index that of
// its configuration, which may name none.
func platformOf(p *v1.Platform, image v1.Image) (v1.Platform, error) {
	if p == nil {
		config, err := image.ConfigFile()
		if err != nil {
			return v1.Platform{}, err
		}
		p = config.Platform()
	}
	if p == nil || p.OS == "" {
		return v1.Platform{OS: unknown, Architecture: unknown}, nil
	}
	return *p, nil
}
