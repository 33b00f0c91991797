package pipeline

import (
	"context"
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
// or pushed. What is refused of one image, or fails in it, hides nothing of another: of
// several the error is an *ImagesError or one *release.Refusal. The images are in the order
// of their names, with what ran of each.
func (p Publisher) TestImages(ctx context.Context, c Commit) ([]TestedImage, error) {
	images := []TestedImage{}
	var errs []error
	for _, name := range c.Config.ImageNames() {
		tested := TestedImage{Name: name, Tests: []TestResult{}}
		in, err := Resolve(ctx, c.Source, c.Config, name)
		if err == nil {
			if tested, err = testImage(ctx, in, p.options()); err != nil {
				err = fmt.Errorf("image %s: %w", name, err)
			}
		}
		images, errs = append(images, tested), append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return images, allOf(errs)
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
