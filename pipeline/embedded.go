package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// buildRoot is the one folder in which commands run: tools write their folder
// into what they make, so it must be the same everywhere.
const buildRoot = "/tmp/shipit-build"

// embedded builds in this process: straight from git's objects, or, where there
// are commands to run, in a clean folder on this machine.
func embedded(opts Options) builder {
	return func(ctx context.Context, in Inputs, list []platform, use use) error {
		var names []string
		for _, p := range list {
			names = append(names, p.name)
		}
		if len(in.Image.Run) == 0 && len(in.Image.Test) == 0 {
			c, err := gitContent(ctx, in, true)
			if err != nil {
				return err
			}
			return use(names, c)
		}
		w, err := openWorkshop(opts)
		if err != nil {
			return err
		}
		defer w.close()
		return w.build(ctx, in, func(c Content) error {
			if err := foreignPackages(ctx, c, list); err != nil {
				return err
			}
			return use(names, c)
		})
	}
}

// workshop is the build root while one build has it.
type workshop struct {
	root   string // holds tree and home
	caches string // package stores that outlive the build
	lock   *os.File
	opts   Options
}

func (w workshop) tree() string { return filepath.Join(w.root, "app") }
func (w workshop) home() string { return filepath.Join(w.root, "home") }

// openWorkshop takes the build root for this process and empties it. Another
// build that has it is waited for.
func openWorkshop(opts Options) (workshop, error) {
	w := workshop{root: buildRoot, opts: opts}
	if opts.buildRoot != "" {
		w.root = opts.buildRoot
	}
	if err := os.Mkdir(w.root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return w, fmt.Errorf("make the build folder: %w", err)
	}
	info, err := os.Lstat(w.root)
	if err != nil {
		return w, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(owner.Uid) != os.Geteuid() {
		return w, fmt.Errorf("%s is another user's: builds run in this folder only, so remove it (as its owner or root) and try again", w.root)
	}
	if w.lock, err = os.OpenFile(filepath.Join(w.root, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return w, err
	}
	if err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX); err != nil {
		return w, fmt.Errorf("lock %s: %w", w.root, err)
	}
	if err := w.clean(); err != nil {
		w.lock.Close()
		return w, fmt.Errorf("empty %s: %w", w.root, err)
	}
	w.caches = filepath.Join(w.home(), "caches")
	if !opts.NoCache {
		store, err := openCache(opts.CacheDir)
		if err != nil {
			w.lock.Close()
			return w, err
		}
		w.caches = filepath.Join(store.dir, "packages")
	}
	return w, errors.Join(mkdir(w.tree()), mkdir(w.home()))
}

func (w workshop) clean() error {
	return errors.Join(removeAll(w.tree()), removeAll(w.home()))
}

func (w workshop) close() {
	_ = w.clean()
	_ = w.lock.Close()
}

// removeAll also removes what lies in folders that a tool has made read-only.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a folder needs x
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// build exports the closure, runs the commands and hands over what they left.
// The tests run last, on a tree that nothing is taken from any more.
func (w workshop) build(ctx context.Context, in Inputs, use func(Content) error) error {
	plain := len(in.Image.Run) == 0
	c, err := gitContent(ctx, in, plain)
	if err != nil {
		return err
	}
	if err := c.export(ctx, w.tree()); err != nil {
		return fmt.Errorf("export the closure: %w", err)
	}
	for _, args := range in.Image.Run {
		if err := w.run(ctx, in, args); err != nil {
			return err
		}
	}
	if !plain {
		if c, err = readDir(w.tree()); err != nil {
			return fmt.Errorf("read what the commands made: %w", err)
		}
		real, err := filepath.EvalSymlinks(w.tree()) // programs see this name where /tmp is a link
		if err != nil {
			return err
		}
		if c, err = normalise(c, real, w.tree()); err != nil {
			return err
		}
	}
	if err := use(c); err != nil {
		return err
	}
	for _, args := range in.Image.Test {
		if err := w.run(ctx, in, args); err != nil {
			return err
		}
	}
	return nil
}
