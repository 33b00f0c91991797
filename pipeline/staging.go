package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/joelhooks/shipit/pipeline/process"
)

// staging is the build folder, locked by one build.
type staging struct {
	root   string // holds tree and home
	seen   string // path at which commands see root
	caches string // package stores that outlive the build
	lock   *os.File
	opts   Options
	places map[string]string // variables that tell tests where their services are
}

func (s staging) tree() string     { return filepath.Join(s.root, "app") }
func (s staging) seenTree() string { return filepath.Join(s.seen, "app") }
func (s staging) home() string     { return filepath.Join(s.root, "home") }

// openStaging locks the build folder for this build and empties it. While another build
// holds the lock, it takes a folder in the cache, which is mounted over the build folder
// for the commands; where that cannot be done, it waits.
func openStaging(ctx context.Context, opts Options) (staging, error) {
	s := staging{root: buildRoot, opts: opts}
	if opts.buildRoot != "" {
		s.root = opts.buildRoot
	}
	s.seen = s.root
	if err := s.makeRoot(ctx); err != nil {
		return s, err
	}
	err := s.acquire(ctx)
	if err != nil {
		return s, fmt.Errorf("lock %s: %w", s.root, err)
	}
	if err := errors.Join(s.sign(), s.clean()); err != nil {
		s.lock.Close()
		return s, fmt.Errorf("empty %s: %w", s.root, err)
	}
	s.caches = filepath.Join(s.seen, "home", "caches")
	switch {
	case opts.NoCache:
	case opts.stores != "":
		s.caches = opts.stores
	default:
		store, err := openCache(opts.CacheDir)
		if err != nil {
			s.lock.Close()
			return s, err
		}
		s.caches = filepath.Join(store.dir, "packages")
	}
	if !opts.NoCache {
		err = os.MkdirAll(s.caches, 0o755)
	}
	return s, errors.Join(err, mkdir(s.tree()), mkdir(s.home()))
}

// makeRoot makes the build folder or takes an existing one of this user. If another
// user owns it, root becomes a folder in the cache that is mounted over it for the
// commands.
func (s *staging) makeRoot(ctx context.Context) error {
	if err := os.Mkdir(s.root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the build folder: %w", err)
	}
	info, err := os.Lstat(s.root)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if info.IsDir() && (!ok || int(owner.Uid) == os.Geteuid()) {
		return nil
	}
	if !info.IsDir() || s.opts.shared || !isolates(ctx) {
		return fmt.Errorf("%s belongs to another user: builds run only in this folder, so remove it (as its owner or root) and build again", s.root)
	}
	store, err := openCache(s.opts.CacheDir)
	if err != nil {
		return err
	}
	s.root = filepath.Join(store.dir, "staging")
	return os.MkdirAll(s.root, 0o700)
}

// empty leaves an empty tree and an empty home folder.
func (s staging) empty() error { return errors.Join(s.clean(), mkdir(s.tree()), mkdir(s.home())) }

func (s staging) clean() error {
	return errors.Join(process.RemoveAll(s.tree()), process.RemoveAll(s.home()))
}

func (s staging) close() {
	_ = s.clean()
	_ = s.lock.Close()
}
