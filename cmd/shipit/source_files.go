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

// releaseWithoutImages is the release with a placeholder for every digest: enough to
// know the kinds of its objects.
func (t *commit) releaseWithoutImages(ctx context.Context) (release.Release, error) {
	images := map[string]pipeline.Image{}
	for _, name := range t.imageNames() {
		images[name] = pipeline.Image{Name: name, Digest: zeroDigest, Repository: t.cfg.Images[name].Repository}
	}
	return t.renderRelease(ctx, images)
}

// sourceFiles reads the files of a commit for packages whose readers take no context.
type sourceFiles struct {
	ctx context.Context // lives as long as the one call that it is passed to
	src git.Source

	missing *[]*git.MissingObjectError // ReadFiles appends missing files; nil: they are errors
}

func (f sourceFiles) ReadFile(path string) ([]byte, error) { return f.src.ReadFile(f.ctx, path) }

// ReadFiles skips files whose content this clone does not have, if missing is set:
// only the files of an image must be complete.
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
