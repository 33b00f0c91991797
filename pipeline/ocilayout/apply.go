package ocilayout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Apply changes the folder out as the layers say of the folder at of the image: what is
// elsewhere in the image is left out. Of a file's mode only whether it is executable is
// kept. Anything but files, folders and links is an error that names it.
func (a *Archive) Apply(ctx context.Context, at, out string) error {
	root, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, l := range a.layers {
		t := target{root: root, at: clean(at), made: map[string]bool{}, files: map[string]*io.SectionReader{}, writes: &errgroup.Group{}}
		t.writes.SetLimit(4)
		err := each(l, func(h *tar.Header, body *io.SectionReader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.entry(h, body); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			return nil
		})
		if err := errors.Join(err, t.writes.Wait()); err != nil {
			return err
		}
	}
	return nil
}

// target is a folder to which one layer is applied.
type target struct {
	root  *os.Root
	at    string                       // of the image
	made  map[string]bool              // paths that this layer has
	files map[string]*io.SectionReader // of this layer, by their names in the image: a hard link may name any

	writes *errgroup.Group // of files: a layer has each once
}

// inside is a path of the image below the folder; "." is the folder itself.
func (t target) inside(name string) (string, bool) {
	if name == t.at {
		return ".", true
	}
	return strings.CutPrefix(name, t.at+"/")
}

func (t target) entry(h *tar.Header, body *io.SectionReader) error {
	name := clean(h.Name)
	if gone, emptied := whiteout(name); gone != "" || emptied != "" {
		return t.remove(gone, emptied)
	}
	if h.Typeflag == tar.TypeReg {
		t.files[name] = body
	}
	rel, ok := t.inside(name)
	if !ok {
		return nil
	}
	if rel == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("is no folder any more")
		}
		return nil
	}
	t.made[rel] = true
	return t.write(rel, h, body)
}

// remove removes what the layer says is gone, or all of a folder that the layers below
// have put there.
func (t target) remove(gone, emptied string) error {
	whole := gone + emptied
	if whole == t.at || strings.HasPrefix(t.at, whole+"/") || whole == "." {
		return t.empty(".")
	}
	rel, ok := t.inside(whole)
	switch {
	case !ok:
		return nil
	case emptied != "":
		return t.empty(rel)
	}
	return t.root.RemoveAll(rel)
}

// empty removes everything from a folder but what this layer has.
func (t target) empty(dir string) error {
	entries, err := fs.ReadDir(t.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch p := path.Join(dir, e.Name()); {
		case !t.made[p]:
			err = errors.Join(err, t.root.RemoveAll(p))
		case e.IsDir():
			err = errors.Join(err, t.empty(p))
		}
	}
	return err
}

// write puts one entry where it belongs, in place of what is there.
func (t target) write(rel string, h *tar.Header, body io.Reader) error {
	there, err := t.root.Lstat(rel)
	if err == nil && (h.Typeflag != tar.TypeDir || !there.IsDir()) {
		if err := t.root.RemoveAll(rel); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return t.root.MkdirAll(rel, 0o755)
	case tar.TypeSymlink:
		return t.root.Symlink(h.Linkname, rel)
	case tar.TypeReg:
		t.writes.Go(func() error { return t.file(rel, h.FileInfo().Mode(), body) })
		return nil
	case tar.TypeLink:
		return t.link(rel, h)
	}
	return fmt.Errorf("%s is not a file, folder or link", h.FileInfo().Mode().Type())
}

func (t target) file(rel string, mode fs.FileMode, body io.Reader) error {
	perm := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := t.root.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Chmod(perm), f.Close()) // whatever the umask is
}

// link is a file that the layer has under another name too, which comes first in it.
func (t target) link(rel string, h *tar.Header) error {
	first := t.files[clean(h.Linkname)]
	if first == nil {
		return fmt.Errorf("is a link to %s, which the layer does not have", h.Linkname)
	}
	again := io.NewSectionReader(first, 0, first.Size()) // the first may be read at the same time
	t.writes.Go(func() error { return t.file(rel, h.FileInfo().Mode(), again) })
	return nil
}
