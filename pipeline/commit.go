package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

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

// EachImage calls step for every image that a role uses, for several at once where the
// machine allows it, and returns them by name. What is refused of one image, or fails in
// it, does not hide what is of another: a *release.Refusal holds the findings of all.
// Any other error ends all of it.
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
	made, errs := make([]Image, len(inputs)), make([]error, len(inputs))
	running, together := errgroup.WithContext(ctx)
	running.SetLimit(atOnce(len(inputs)))
	for i, in := range inputs {
		running.Go(func() error {
			if together.Err() != nil {
				return nil // it would fail for the same reason
			}
			var err error
			if made[i], err = step(p.of(in, len(inputs)), together, in); err != nil {
				err = fmt.Errorf("image %s: %w", in.Name, err)
			}
			if isFault(err) {
				errs[i] = err
				return nil
			}
			return err
		})
	}
	if err := running.Wait(); err != nil {
		return nil, err
	}
	images := map[string]Image{}
	for i, in := range inputs {
		images[in.Name] = made[i]
	}
	return images, allOf(errs)
}

// isFault reports whether an error is of the image itself, so that it says nothing of the
// others: what is refused, or a command or a service of its tests that failed.
func isFault(err error) bool {
	var refusal *release.Refusal
	var command *CommandError
	var service *ServiceError
	return errors.As(err, &refusal) || errors.As(err, &command) || errors.As(err, &service)
}

// of is the publisher for one of several images: what it reports names the image.
func (p Publisher) of(in Inputs, images int) Publisher {
	report := p.Options.Progress
	if images > 1 && report != nil {
		p.Options.Progress = func(e release.Event) {
			e.Image = in.Name
			report(e)
		}
	}
	return p
}

// ImagesError is what failed in several images of one commit.
type ImagesError struct {
	Refused error   // what is refused of any of them; nil if nothing is
	Failed  []error // each names its image
}

func (e *ImagesError) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap gives what is refused, if anything is, and then what failed.
func (e *ImagesError) Unwrap() []error {
	if e.Refused == nil {
		return e.Failed
	}
	return append([]error{e.Refused}, e.Failed...)
}

// allOf is one error of those of several images: the one, what is refused of all, or an
// *ImagesError.
func allOf(errs []error) error {
	var refused refusals
	all := &ImagesError{}
	for _, err := range errs {
		if err != nil && !refused.take(err) {
			all.Failed = append(all.Failed, err)
		}
	}
	switch all.Refused = refused.err(); {
	case len(all.Failed) == 0:
		return all.Refused
	case len(all.Failed) == 1 && all.Refused == nil:
		return all.Failed[0]
	}
	return all
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
