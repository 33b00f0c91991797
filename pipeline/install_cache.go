package pipeline

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// take is restore for a build in which nothing but the install runs: where folders can be
// moved between the cache and the tree, which is empty, the install leaves the cache, and
// moved says that it, or the one that is made there now, is to be given back.
func (c installCache) take(ctx context.Context, key, tree string) (found, moved bool, err error) {
	if c.dir == "" || !c.link {
		found, err = c.restore(ctx, key, tree)
		return found, false, err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return false, false, err
	}
	unlock, err := c.lock(syscall.LOCK_EX)
	if err != nil {
		return false, false, err
	}
	from := filepath.Join(c.dir, key)
	_, absent := os.Stat(from)
	if absent != nil { // a new folder shows whether one can be moved
		if from, err = os.MkdirTemp(c.dir, ".part-"); err == nil {
			err = os.Chmod(from, 0o755) //nolint:gosec // as the tree's
		}
	}
	if err == nil && inPlaceOf(from, tree) {
		unlock()
		return absent == nil, true, nil
	}
	if absent != nil {
		err = errors.Join(err, os.RemoveAll(from))
	}
	unlock()
	if err != nil {
		return false, false, err
	}
	found, err = c.restore(ctx, key, tree)
	return found, false, err
}

// inPlaceOf moves a folder to where an empty one is. If it cannot, that one stays.
func inPlaceOf(from, empty string) bool {
	if os.Remove(empty) != nil {
		return false
	}
	if os.Rename(from, empty) == nil {
		return true
	}
	_ = mkdir(empty)
	return false
}

// give moves the folder tree into the cache. If another build has given one of that key,
// that one stays.
func (c installCache) give(key, tree string) error {
	unlock, err := c.lock(syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	at := filepath.Join(c.dir, key)
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	now := time.Now()
	return errors.Join(os.Chtimes(tree, now, now), os.Rename(tree, at))
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
	at := filepath.Join(c.dir, key)
	err = errors.Join(process.RemoveAll(at), os.Rename(part, at))
	unlock()
	if err != nil {
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

// makeRoom takes out of the cache what one more install pushes out. It is removed in the
// background: what is still there when shipit ends, a later build removes.
func (c installCache) makeRoom() error {
	if c.dir == "" {
		return nil
	}
	old, err := c.outdated(installsKept - 1)
	if err != nil || len(old) > installsKept { // builds end sooner than that is done
		return errors.Join(err, removeAll(old))
	}
	go func() { _ = removeAll(old) }()
	return nil
}

// trim removes what is used least recently, but for the installs that are kept.
func (c installCache) trim() error {
	old, err := c.outdated(installsKept)
	return errors.Join(err, removeAll(old))
}

func removeAll(folders []string) (failed error) {
	for _, dir := range folders {
		failed = errors.Join(failed, process.RemoveAll(dir))
	}
	return failed
}

// pushedOut begins the names of folders that are being removed.
const pushedOut = ".old-"

// outdated takes what is used least recently, but for so many, out of the cache. It gives
// the folders to remove: these, those of builds that ended before they had removed them,
// and what killed builds left an hour ago.
func (c installCache) outdated(limit int) ([]string, error) {
	unlock, err := c.lock(syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	var kept []fs.FileInfo
	var out []string
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case e.Name()[0] != '.':
			kept = append(kept, info)
		case strings.HasPrefix(e.Name(), pushedOut) || time.Since(info.ModTime()) > time.Hour:
			out = append(out, filepath.Join(c.dir, e.Name()))
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range kept[min(len(kept), limit):] {
		hidden, err := os.MkdirTemp(c.dir, pushedOut)
		if err == nil {
			err = os.Rename(filepath.Join(c.dir, info.Name()), filepath.Join(hidden, "tree"))
		}
		if err != nil {
			return out, err
		}
		out = append(out, hidden)
	}
	return out, nil
}

// ignoreMissing is an error other than that something is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
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
