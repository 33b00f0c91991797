package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/release"
)

// writerFile is what writers of a folder lock by flock(2), on every Disk.
const writerFile = ".writer"

// localDisk is this machine's.
type localDisk struct{}

func (localDisk) Name() string { return "" }

func (localDisk) Read(ctx context.Context, dir string, names []string, each func(string, []byte) error) error {
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := each(name, content); err != nil {
			return err
		}
	}
	return nil
}

func (localDisk) List(ctx context.Context, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (localDisk) Replace(ctx context.Context, dir, name, was string, content []byte) (replaced bool, err error) {
	done, err := release.BeforeWrite(ctx, release.Write("disk "+name))
	if err != nil {
		return false, err
	}
	defer done()
	err = exclusive(ctx, dir, func() error {
		now, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && was == "":
		case err == nil && was == hash(now):
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		default:
			return err
		}
		replaced = true
		return writeDurably(dir, name, content)
	})
	return replaced && err == nil, err
}

// A writer has the folder for a few milliseconds. One that has it for longer was
// stopped: no wait for it is without end.
const (
	writerLimit = 10 * time.Second
	writerPoll  = 2 * time.Millisecond
)

// exclusive lets one writer at a time into a folder. The kernel frees the lock of
// a process that was killed.
func exclusive(ctx context.Context, dir string, write func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	guard, err := os.OpenFile(filepath.Join(dir, writerFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer guard.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, writerLimit, fmt.Errorf("another writer has had it for %s", writerLimit))
	defer cancel()
	for {
		err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return write()
		case !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", guard.Name(), err)
		}
		if err := pause(ctx, writerPoll); err != nil {
			return fmt.Errorf("lock %s: %w", guard.Name(), err)
		}
	}
}

// writeDurably writes a file that is whole and on disk once it has its name.
func writeDurably(dir, name string, content []byte) error {
	next, err := os.CreateTemp(dir, ".next-")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	_, err = next.Write(content)
	err = errors.Join(err, next.Chmod(0o644), next.Sync(), next.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(next.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
