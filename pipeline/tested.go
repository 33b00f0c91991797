package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// TestedImage is an image whose tests have run. The JSON fields are part of the contract
// of `test -o json`.
type TestedImage struct {
	Name    string       `json:"name"`
	Builder string       `json:"builder,omitempty"` // "" if it has no tests
	Tests   []TestResult `json:"tests"`
}

// TestImages runs the tests of every image that a role uses, without the image being made
// or pushed. What fails in one image hides nothing of another. The images are in the order
// of their names, with what ran of each.
func (p Publisher) TestImages(ctx context.Context, c Commit) ([]TestedImage, error) {
	images := []TestedImage{}
	var failed []error
	for _, name := range c.Config.ImageNames() {
		in, err := Resolve(ctx, c.Source, c.Config, name)
		if err != nil {
			return images, err
		}
		tested, err := testImage(ctx, in, p.options())
		images = append(images, tested)
		if err != nil {
			failed = append(failed, fmt.Errorf("image %s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(failed) == 1 {
		return images, failed[0]
	}
	return images, errors.Join(failed...)
}

// testImage runs the commands and the tests of an image.
func testImage(ctx context.Context, in Inputs, opts Options) (TestedImage, error) {
	opts.Progress = serially(opts.Progress)
	tested := TestedImage{Name: in.Name, Tests: []TestResult{}}
	if len(in.Image.Test) == 0 {
		opts.report(release.MarkNote, "%s has no tests", in.Name)
		return tested, nil
	}
	list, err := platforms(ctx, in, opts)
	if err != nil {
		return tested, err
	}
	with, err := chooseBuilder(ctx, in, opts)
	if err != nil {
		return tested, err
	}
	defer with.close()
	tested.Builder = with.name
	if err := with.runsServices(in); err != nil {
		return tested, err
	}
	ran, err := with.test(ctx, in, list)
	tested.Tests = append(tested.Tests, ran...)
	return tested, err
}
