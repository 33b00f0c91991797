package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// EachImage calls step for every image that a role uses, and returns them by name. What
// refuses one image does not hide what refuses another: a *release.Refusal holds the
// findings of all.
func (p Publisher) EachImage(ctx context.Context, c Commit, step Step) (map[string]Image, error) {
	var inputs []Inputs
	var refused refusals
	for _, name := range c.Config.ImageNames() {
		in, err := Resolve(ctx, c.Source, c.Config, name)
		if err != nil && !refused.take(err) {
			return nil, err
		}
		inputs = append(inputs, in)
	}
	if err := refused.err(); err != nil {
		return nil, err
	}
	images := map[string]Image{}
	for _, in := range inputs {
		image, err := step(p, ctx, in)
		if err != nil {
			err = fmt.Errorf("image %s: %w", in.Name, err)
		}
		if err != nil && !refused.take(err) {
			return nil, err
		}
		images[in.Name] = image
	}
	return images, refused.err()
}

// refusals are the errors of several images that are a *release.Refusal.
type refusals []error

// take keeps an error that is one; false if it is none.
func (r *refusals) take(err error) bool {
	var refusal *release.Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	*r = append(*r, err)
	return true
}

// err is the one error as it is, or the findings of several, each once.
func (r refusals) err() error {
	switch len(r) {
	case 0:
		return nil
	case 1:
		return r[0]
	}
	all := &release.Refusal{}
	for _, err := range r {
		var refusal *release.Refusal
		errors.As(err, &refusal)
		for _, f := range refusal.Findings {
			if !slices.Contains(all.Findings, f) {
				all.Findings = append(all.Findings, f)
			}
		}
	}
	return all
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
