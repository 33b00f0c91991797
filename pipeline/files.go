package pipeline

import (
	"context"
	"io"
	"path"
)

// ReadFiles passes the committed bytes of each file to visit, in order, through
// one git process; what visit leaves unread is skipped. Paths that the commit
// does not hold, and submodules, are left out.
func (s Source) ReadFiles(ctx context.Context, paths []string, visit func(path string, content io.Reader) error) error {
	var blobs []blob
	for _, p := range paths {
		if f, ok := s.files[path.Clean(p)]; ok && f.Mode != modeSubmodule {
			blobs = append(blobs, blob{f.Path, f.ID})
		}
	}
	return s.objects.read(ctx, blobs, func(b blob, _ int64, r io.Reader) error { return visit(b.path, r) })
}
