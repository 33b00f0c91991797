package git

import (
	"context"
	"errors"
	"io"
	"slices"
)

// Files reads the files of a commit for packages whose readers take no context.
type Files struct {
	ctx    context.Context // lives as long as the one call that it is passed to
	source Source
	absent *[]*MissingObjectError
}

// Files reads the files of the commit until ctx ends. A file whose content this
// clone does not have is an error.
func (s Source) Files(ctx context.Context) Files { return Files{ctx: ctx, source: s} }

// SkipAbsent is f whose ReadFiles passes over files whose content this clone does not
// have, and appends them to absent.
func (f Files) SkipAbsent(absent *[]*MissingObjectError) Files {
	f.absent = absent
	return f
}

// ReadFile is Source.ReadFile.
func (f Files) ReadFile(path string) ([]byte, error) { return f.source.ReadFile(f.ctx, path) }

// ReadFiles is Source.ReadFiles.
func (f Files) ReadFiles(paths []string, visit func(path string, content io.Reader) error) error {
	for {
		err := f.source.ReadFiles(f.ctx, paths, visit)
		var absent *MissingObjectError
		if !errors.As(err, &absent) {
			return err
		}
		at := slices.Index(paths, absent.Path)
		if at < 0 || f.absent == nil {
			return err
		}
		*f.absent = append(*f.absent, absent)
		paths = paths[at+1:]
	}
}

// List returns the paths of all files at or below dir, "" for all.
func (f Files) List(dir string) ([]string, error) {
	var paths []string
	for _, file := range f.source.Entries(dir) {
		paths = append(paths, file.Path)
	}
	return paths, nil
}
