package pipeline

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// Commit is a commit and its configuration: what images are made from.
type Commit struct {
	Source git.Source
	Config config.Config
}

// Step makes one image, such as Publisher.Publish.
type Step func(Publisher, context.Context, Inputs) (Image, error)

// EachImage calls step for every image that a role uses, and returns them by name.
func (p Publisher) EachImage(ctx context.Context, c Commit, step Step) (map[string]Image, error) {
	images := map[string]Image{}
	for _, name := range c.Config.ImageNames() {
		in, err := Resolve(ctx, c.Source, c.Config, name)
		if err != nil {
			return nil, err
		}
		if images[name], err = step(p, ctx, in); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	return images, nil
}

// Roles are the roles of cfg with their images, in order and without objects.
func Roles(cfg config.Config, images map[string]Image) []release.Role {
	roles := make([]release.Role, 0, len(cfg.Roles))
	for _, r := range cfg.Roles {
		image := images[r.Image]
		roles = append(roles, release.Role{
			Name: r.Name, Target: r.Target(), Image: r.Image,
			Repository: image.Repository, Digest: image.Digest, Key: image.Key, Aliases: image.Aliases,
		})
	}
	return roles
}

// PlaceholderImages are the images of cfg with config.PlaceholderDigest as the
// digest: enough to know which objects a release has.
func PlaceholderImages(cfg config.Config) map[string]Image {
	images := map[string]Image{}
	for _, name := range cfg.ImageNames() {
		images[name] = Image{Name: name, Digest: config.PlaceholderDigest, Repository: cfg.Images[name].Repository}
	}
	return images
}
