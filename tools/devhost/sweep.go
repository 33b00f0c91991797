package devhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// claim holds the folder of a boot for as long as this process lives: the lock
// of a file that is never closed. The file gets its name when it is locked: to whoever
// sweeps meanwhile, one that is not would be of a process that is gone.
func claim(dir string) error {
	f, err := os.CreateTemp(dir, "owner-")
	if err != nil {
		return err
	}
	// The descriptor is kept open on purpose: it is closed by the end of the process.
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	syscall.CloseOnExec(fd)
	if err := errors.Join(syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, "owner"))
}

// sweep removes what boots left behind whose process is gone. Their processes,
// mounts and networks went with it.
func sweep(cache string) error {
	dirs, err := filepath.Glob(filepath.Join(cache, "run", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		f, err := os.Open(filepath.Join(dir, "owner"))
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			errs = append(errs, f.Close())
		}
		if err == nil || errors.Is(err, os.ErrNotExist) && old(dir) {
			errs = append(errs, wipe(dir, groupsOf(filepath.Base(dir))))
		}
	}
	return errors.Join(errs...)
}

// old tells a folder that was left without an owner from one that is being made.
func old(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && time.Since(info.ModTime()) > time.Minute
}

// groupsOf are the control groups of a boot: one in each hierarchy that systemd
// uses.
func groupsOf(id string) []string {
	var groups []string
	for _, hierarchy := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(hierarchy + "/cgroup.procs"); err == nil {
			groups = append(groups, hierarchy+"/shipit-devhost-"+id)
		}
	}
	return groups
}

func (h *Host) makeGroups(id string) error {
	h.groups = groupsOf(id)
	for _, group := range h.groups {
		if err := os.Mkdir(group, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// wipe removes a boot's control groups, once their processes are gone, and its
// folder.
func wipe(dir string, groups []string) error {
	for _, group := range groups {
		if err := removeGroup(group); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

func removeGroup(group string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := removeTree(group)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeTree removes a control group and those below it, the deepest first: its
// files cannot be removed, and need not be.
func removeTree(group string) error {
	var dirs []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range dirs {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove control group: %w", err)
		}
	}
	return nil
}
