package content

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// diskFullError says that a file system had no space left. What was staged there has
// been removed.
type diskFullError struct {
	Machine, Path string
	FileSystem    string // the device, as df names it
	Mount         string
	FreeKiB       int64 // after the staged files were removed
}

func (e *diskFullError) Error() string {
	return fmt.Sprintf("no space left on %s: file system %s at %s, unpacking %s", e.Machine, e.FileSystem, e.Mount, e.Path)
}

// Hint says what to do.
func (e *diskFullError) Hint() string {
	return fmt.Sprintf("%d MiB are free there; `df -h %s` shows it; old releases go with a smaller host.keep", e.FreeKiB>>10, e.Mount)
}

// DamagedError says that unpacked content is not what was sent.
type DamagedError struct {
	Machine, Path string
	Differences   []string // the first few
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("content of %s on %s is damaged: %s", e.Path, e.Machine, strings.Join(e.Differences, "; "))
}

// MountedError says that something is mounted in a folder that was to be removed
// or sealed. Nothing was changed there.
type MountedError struct {
	Machine, Path string
	Mounts        []string // mount points at or below Path
}

func (e *MountedError) Error() string {
	return fmt.Sprintf("%s on %s is left alone: something is mounted at %s", e.Path, e.Machine, strings.Join(e.Mounts, ", "))
}

// Hint says what to do.
func (e *MountedError) Hint() string {
	return "unmount it: what is mounted there is not shipit's to remove"
}

// layerError says that an image's layer cannot be unpacked. Nothing of it was
// left.
type layerError struct {
	DiffID, Path string // Path is empty if the layer as a whole is at fault
	Reason       string
}

func (e *layerError) Error() string {
	s := "layer " + release.ShortDigest(e.DiffID)
	if e.Path != "" {
		s += fmt.Sprintf(", %q", e.Path)
	}
	return s + ": " + e.Reason
}
