package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scratchPrefix begins the names of all folders of Scratch.
const scratchPrefix = "shipit-"

// unready ends the name of a folder that has no lock yet.
const unready = ".new"

// Purpose is what a folder of Scratch is for.
type Purpose string

const (
	Dagger       Purpose = "dagger"       // what goes into an engine and comes out of it
	Image        Purpose = "image"        // an image as an archive
	Prove        Purpose = "prove"        // the files of an image that is proven
	Reproducible Purpose = "reproducible" // the first build of a comparison
	Syntax       Purpose = "syntax"       // scripts whose syntax is checked
)

// Scratch makes a folder for this process in the system's temporary folder. Its name
// begins with shipit-, purpose and a dash. Call done when it is no longer needed. The
// folders of processes that were killed before that are removed first.
func Scratch(purpose Purpose) (dir string, done func(), err error) {
	if !slices.Contains(purposes(), purpose) {
		return "", nil, fmt.Errorf("%q is no purpose of a folder", purpose)
	}
	sweep(os.TempDir())
	part, err := os.MkdirTemp("", scratchPrefix+string(purpose)+"-*"+unready)
	if err != nil {
		return "", nil, err
	}
	lock, err := os.Open(part)
	if err == nil {
		// The lock ends with the process, however it ends.
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			dir = strings.TrimSuffix(part, unready)
			err = os.Rename(part, dir)
		}
	}
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(part))
	}
	return dir, func() {
		_ = RemoveAll(dir)
		_ = lock.Close()
	}, nil
}

// sweep removes the folders of Scratch in the folder temp whose process is gone. Those
// of other users are left to them.
func sweep(temp string) {
	found, _ := filepath.Glob(filepath.Join(temp, scratchPrefix+"*-*"))
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !scratch(filepath.Base(dir)) || !own(info) {
			continue
		}
		if strings.HasSuffix(dir, unready) && time.Since(info.ModTime()) < time.Hour {
			continue
		}
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

// scratch reports whether a folder's name is one of Scratch: others begin with shipit-
// too, and have no lock.
func scratch(name string) bool {
	for _, purpose := range purposes() {
		if strings.HasPrefix(name, scratchPrefix+string(purpose)+"-") {
			return true
		}
	}
	return false
}

// purposes are all of them: the folders of no other are swept.
func purposes() []Purpose { return []Purpose{Dagger, Image, Prove, Reproducible, Syntax} }

func own(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
