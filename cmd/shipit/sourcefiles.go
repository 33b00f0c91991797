package main

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// sketch is the release without its images: enough to know what kinds it has.
func (t *tree) sketch(ctx context.Context) (release.Release, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		images[name] = pipeline.Image{Name: name, Digest: zeroDigest, Repository: t.cfg.Images[name].Repository}
	}
	return t.compose(ctx, images)
}

// sourceFiles reads the files of a commit for packages that know no context.
type sourceFiles struct {
	ctx context.Context // lives as long as the one call that it is passed to
	src git.Source

	missing *[]*git.MissingObjectError // takes what ReadFiles left out; nil: it is an error
}

func (f sourceFiles) ReadFile(path string) ([]byte, error) { return f.src.ReadFile(f.ctx, path) }

// ReadFiles goes on after a file that this clone does not hold, and notes it: only
// what goes into an image must be whole.
func (f sourceFiles) ReadFiles(paths []string, visit func(path string, content io.Reader) error) error {
	for {
		err := f.src.ReadFiles(f.ctx, paths, visit)
		var absent *git.MissingObjectError
		if !errors.As(err, &absent) {
			return err
		}
		at := slices.Index(paths, absent.Path)
		if at < 0 || f.missing == nil {
			return err
		}
		*f.missing = append(*f.missing, absent)
		paths = paths[at+1:]
	}
}

func (f sourceFiles) List(dir string) ([]string, error) {
	var paths []string
	for _, file := range f.src.Entries(dir) {
		paths = append(paths, file.Path)
	}
	return paths, nil
}
