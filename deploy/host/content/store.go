// Package content keeps the content of images on a machine, each in a read-only
// release directory: it is staged, compared with the layers that it comes from, read
// back on the machine and renamed.
package content

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// Store is the release directories below the folder Root of a machine.
type Store struct {
	Machine *machine.Machine
	Root    string // absolute
}

// Dir is the release directory of the image with the digest.
func Dir(root, digest string) string {
	return path.Join(root, "releases", strings.TrimPrefix(digest, "sha256:"))
}

// IsDigest reports whether s is sha256: and 64 lower-case hexadecimal digits.
func IsDigest(s string) bool {
	digits, found := strings.CutPrefix(s, "sha256:")
	return found && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

func (s Store) dir(digest string) string { return Dir(s.Root, digest) }

func (s Store) staging() string { return path.Join(s.Root, "staging") }

// ReplacementDir is the folder of content that is to replace a damaged release directory in
// which a process works: Repair renames it when the process has ended.
func (s Store) ReplacementDir(digest string) string {
	return path.Join(s.staging(), path.Base(s.dir(digest))+"."+s.Machine.Run+".repaired")
}

func (s Store) write(name string) machine.Write { return machine.Write{Name: name, Root: s.Root} }

// PrepareStaging makes the folders of the store, and removes what runs before this one have
// left in the staging directory.
func (s Store) PrepareStaging(ctx context.Context) error {
	if err := s.changeTree(ctx, "sweep", s.staging(), machine.Script(sweepScript, s.Root, s.Machine.Run)); err != nil {
		return fmt.Errorf("prepare %s on %s: %w", s.Root, s.Machine.Name, err)
	}
	return nil
}

// changeTree runs a script that removes or seals folders below dir. It returns a
// *MountedError if something is mounted there.
func (s Store) changeTree(ctx context.Context, write, dir string, cmd machine.Command) error {
	cmd.AllowExitCodes = append(cmd.AllowExitCodes, exitMounted)
	res, err := s.Machine.Change(ctx, s.write(write), cmd)
	if err == nil && res.Exit == exitMounted {
		return s.mounted(dir, res.Stdout)
	}
	return err
}

// mounted is the error of a script that found mount points and printed them.
func (s Store) mounted(dir, out string) *MountedError {
	fault := &MountedError{Machine: s.Machine.Name, Path: dir}
	for _, line := range machine.Lines(out) {
		if at, found := strings.CutPrefix(line, "Mount="); found {
			fault.Mounts = append(fault.Mounts, at)
		}
	}
	return fault
}

// ErrAbsent says that a release directory is not there.
var ErrAbsent = errors.New("not there")

// Image is what a release directory holds.
type Image struct {
	Digest string
	Files  string // see Files; empty: it is not known
}

// Verify compares the release directory with its lists: every entry, its kind, its
// owner, the target of every link, the hash of every file; and the lists with those
// of the image, if its Files are known. Unless whole is set, the content is read only
// if the inodes, sizes or times of the entries have changed since it was verified. ErrAbsent: there is none;
// *DamagedError: it differs; *MountedError: something is mounted there.
func (s Store) Verify(ctx context.Context, image Image, whole bool) error {
	script := quickScript
	if whole {
		script = verifyScript
	}
	return s.runVerify(ctx, s.dir(image.Digest), image.Files, script)
}

// readingLimit is how long it may take to read all of a release directory.
const readingLimit = 2 * time.Minute

func (s Store) runVerify(ctx context.Context, dir, files, script string) error {
	cmd := machine.Script(script, dir, files)
	cmd.AllowExitCodes, cmd.Limit = []int{exitAbsent, exitDamaged, exitMounted}, readingLimit
	res, err := s.Machine.Read(ctx, cmd)
	switch {
	case err != nil:
		return fmt.Errorf("verify %s: %w", dir, err)
	case res.Exit == exitAbsent:
		return ErrAbsent
	case res.Exit == exitMounted:
		return s.mounted(dir, res.Stdout)
	case res.Exit == exitDamaged:
		differences := machine.Lines(res.Stdout + res.Stderr)
		return &DamagedError{Machine: s.Machine.Name, Path: dir, Differences: differences[:min(len(differences), 5)]}
	}
	return nil
}

// SaveStats writes the stats of a release directory that was verified whole, for Verify to
// compare with. Without them the next Verify reads all of it.
func (s Store) SaveStats(ctx context.Context, digest string) error {
	_, err := s.Machine.Change(ctx, s.write("stats"), machine.Script(noteScript, s.dir(digest)))
	return err
}

// Repair replaces the release directory by the ReplacementDir. No process may work in it any
// more. It does nothing if there is no ReplacementDir.
func (s Store) Repair(ctx context.Context, digest string) error {
	from := s.ReplacementDir(digest)
	return s.changeTree(ctx, "repair", s.dir(digest), machine.Script(repairScript, from, s.dir(digest), from+".old"))
}
