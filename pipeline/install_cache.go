package pipeline

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/pipeline/process"
)

// installsKept is how many installs the cache keeps; the least recently used goes. An
// image for several platforms has one for each.
const installsKept = 6

// installCache is a folder of trees as installs left them, by their keys. The zero
// value keeps nothing.
type installCache struct {
	dir  string
	link bool // trees share their files: nothing runs in them that could change one
}

// installsOf is where a build finds and keeps installs. A build that shows whether an
// install is the same each time runs it.
func installsOf(in Inputs, opts Options) (installCache, error) {
	if opts.cold() {
		return installCache{}, nil
	}
	store, err := openCache(opts.CacheDir)
	img := in.Image
	alone := len(img.Run) == 1 && len(img.Test)+len(img.Functions) == 0 && img.Prove.Start == 0
	return installCache{filepath.Join(store.dir, "installs"), alone}, err
}

// restore copies an install to the folder tree, if there is one.
func (c installCache) restore(ctx context.Context, key, tree string) (bool, error) {
	from := filepath.Join(c.dir, key)
	if c.dir == "" {
		return false, nil
	}
	unlock, err := c.lock(syscall.LOCK_SH)
	if err != nil {
		return false, err
	}
	defer unlock()
	if _, err := os.Stat(from); err != nil {
		return false, nil //nolint:nilerr // there is none
	}
	now := time.Now()
	return true, errors.Join(os.Chtimes(from, now, now), c.copy(ctx, from, tree))
}

// keep copies the folder tree into the cache.
func (c installCache) keep(ctx context.Context, key, tree string) error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(c.dir, ".part-")
	if err != nil {
		return err
	}
	if err := c.copy(ctx, tree, part); err != nil {
		return errors.Join(err, process.RemoveAll(part))
	}
	unlock, err := c.lock(syscall.LOCK_EX)
	if err != nil {
		return errors.Join(err, process.RemoveAll(part))
	}
	defer unlock()
	at := filepath.Join(c.dir, key)
	if err := errors.Join(process.RemoveAll(at), os.Rename(part, at)); err != nil {
		return errors.Join(err, process.RemoveAll(part))
	}
	return c.trim()
}

// lock keeps builds that run at the same time from removing what another one copies.
func (c installCache) lock(how int) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(c.dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), how); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// trim removes what is used least recently, and what killed builds left an hour ago.
func (c installCache) trim() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	var failed error
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case e.Name()[0] != '.':
			kept = append(kept, info)
		case time.Since(info.ModTime()) > time.Hour:
			failed = errors.Join(failed, process.RemoveAll(filepath.Join(c.dir, e.Name())))
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range kept[min(len(kept), installsKept):] {
		failed = errors.Join(failed, process.RemoveAll(filepath.Join(c.dir, info.Name())))
	}
	return failed
}

// copy copies a folder's content to a folder that is there and empty, with its modes.
func (c installCache) copy(ctx context.Context, from, to string) error {
	files, ctx := errgroup.WithContext(ctx)
	files.SetLimit(4)
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == from {
			return errors.Join(err, ctx.Err())
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.Mkdir(at, info.Mode().Perm()|0o700)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			return errors.Join(err, os.Symlink(target, at))
		}
		if c.link && os.Link(p, at) == nil { // or the cache is on another disk
			return nil
		}
		files.Go(func() error { return copyFile(p, at, info.Mode().Perm()) })
		return ctx.Err()
	})
	return errors.Join(err, files.Wait())
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}
