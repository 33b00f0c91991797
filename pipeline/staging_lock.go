package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/release"
)

// stagings is how many folders beside the build folder there may be.
const stagings = 15

// acquire locks the build folder or one beside it.
func (s *staging) acquire(ctx context.Context) error {
	var busy bool
	var err error
	if s.lock, busy, err = lockIn(s.root); err != nil {
		return err
	}
	store, err := openCache(s.opts.CacheDir)
	if err != nil {
		return err
	}
	if !busy {
		abandoned(store)
		return nil
	}
	if s.beside(ctx, store) {
		return nil
	}
	return s.wait(ctx)
}

// beside locks a folder in the cache in place of the build folder, if it can be mounted
// over it.
func (s *staging) beside(ctx context.Context, store cache) bool {
	for n := 0; n < stagings && !s.opts.shared; n++ {
		root := store.staging(n)
		if os.MkdirAll(root, 0o700) != nil || !works(ctx, mounted([]mount{{root, s.seen}}, s.seen, []string{"true"})) {
			return false
		}
		file, busy, err := lockIn(root)
		if err == nil && !busy {
			_ = s.lock.Close()
			s.root, s.lock = root, file
			return true
		}
		if err == nil {
			_ = file.Close()
		}
	}
	return false
}

func (c cache) staging(n int) string { return filepath.Join(c.dir, fmt.Sprintf("staging-%d", n)) }

// abandoned empties the folders in the cache that killed builds have left.
func abandoned(store cache) {
	for n := range stagings {
		root := store.staging(n)
		if _, err := os.Stat(root); err != nil {
			return
		}
		if file, busy, err := lockIn(root); err == nil {
			if !busy {
				_ = staging{root: root}.clean()
			}
			_ = file.Close()
		}
	}
}

// lockIn locks a folder, unless another build has it: busy.
func lockIn(root string) (file *os.File, busy bool, err error) {
	return lockFile(filepath.Join(root, "lock"))
}

// lockFile locks a file, unless another build has it: busy. The file is open in any case
// but that of an error.
func lockFile(name string) (file *os.File, busy bool, err error) {
	if file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return file, true, nil
	}
	if err != nil {
		_ = file.Close()
		return nil, false, err
	}
	return file, false, nil
}

// wait locks the build folder when the other build has ended, and reports whose it is.
func (s staging) wait(ctx context.Context) error {
	s.opts.report(release.MarkNote, "another build uses %s (%s): waiting for it", s.root, s.holder())
	return waitFor(ctx, s.lock)
}

// waitFor locks a file when the other build has ended. If it cannot, or ctx ends before
// that, it closes the file.
func waitFor(ctx context.Context, file *os.File) error {
	locked := make(chan error, 1)
	go func() { locked <- syscall.Flock(int(file.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			_ = file.Close()
		}
		return err
	case <-ctx.Done():
		go func() { // the system call can't be interrupted; closing the file unlocks it
			<-locked
			file.Close()
		}()
		return context.Cause(ctx)
	}
}

// sign writes into the lock's file who holds it, for those that wait.
func (s staging) sign() error {
	text := fmt.Sprintf("process %d, since %s", os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	if err := s.lock.Truncate(0); err != nil {
		return err
	}
	_, err := s.lock.WriteAt([]byte(text), 0)
	return err
}

// holder is who holds the lock, as written by it.
func (s staging) holder() string {
	data := make([]byte, 100)
	n, _ := s.lock.ReadAt(data, 0)
	return cmp.Or(release.Visible(string(data[:n])), "nobody knows whose")
}
