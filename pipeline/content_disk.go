package pipeline

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/joelhooks/shipit/pipeline/process"
)

// onDisk returns a folder with the content, and a function to call when it is no
// longer needed. Content that was read from a folder is not copied.
func onDisk(ctx context.Context, c content) (string, func(), error) {
	if c.dir != "" {
		dir, err := filepath.EvalSymlinks(c.dir)
		return dir, func() {}, err
	}
	tmp, done, err := process.Scratch(process.Prove)
	if err != nil {
		return "", nil, err
	}
	dir, err := filepath.EvalSymlinks(tmp)
	if err == nil {
		dir = filepath.Join(dir, "app")
		if err = mkdir(dir); err == nil {
			err = c.export(ctx, dir)
		}
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return dir, done, nil
}

// export writes the content into the folder dir, which must be empty, with the
// modes that the image has.
func (c content) export(ctx context.Context, dir string) error {
	for _, d := range c.folders() {
		if err := mkdir(filepath.Join(dir, filepath.FromSlash(d))); err != nil {
			return err
		}
	}
	return c.each(ctx, func(e entry, r io.Reader) error {
		at := filepath.Join(dir, filepath.FromSlash(e.Path))
		switch e.Kind {
		case kindDir:
			return nil
		case kindLink:
			return os.Symlink(e.Link, at)
		}
		mode := fs.FileMode(0o644)
		if e.Executable {
			mode = 0o755
		}
		f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, r); err != nil {
			f.Close()
			return err
		}
		if err := f.Chmod(mode); err != nil { // whatever the umask is
			f.Close()
			return err
		}
		return f.Close()
	})
}

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// folders are all folders of the content, named or implied, parents first.
func (c content) folders() []string {
	set := map[string]bool{}
	for _, e := range c.Entries {
		if e.Kind == kindDir {
			set[e.Path] = true
		}
		for d := path.Dir(e.Path); d != "."; d = path.Dir(d) {
			set[d] = true
		}
	}
	out := make([]string, 0, len(set))
	for d := range set {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}
