package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/joelhooks/shipit/release"
)

// content gives an image's files.
type content struct {
	// Layers lists the layers of an image for a platform such as linux/amd64,
	// lowest first. It may leave out those of a base whose runtime is the host's.
	Layers func(ctx context.Context, ref, platform string) ([]layer, error)
}

// prepare puts the role's content on the machine, into <root>/releases/<digest>:
// staged, each layer held against its diffID, read back and compared on the
// machine, made read-only, renamed into place. Content that is there already is
// read back and left alone; if it was damaged it is unpacked again. Nothing that
// runs is touched: a damaged directory that a process works in stays until activate
// has stopped the service.
//
// Errors: *layerError, *diskFullError, *damagedError, *mountedError, *lostError; after each of
// them nothing stands in the role's release directory that was not there before.
func (m *machine) prepare(ctx context.Context, role release.Role, c content) error {
	d, err := define(role)
	if err != nil {
		return err
	}
	defer m.unpacks.lock(d.releaseDir())()
	began := time.Now()
	if err := m.changeTree(ctx, d.write("sweep"), path.Join(d.Root, "staging"), script(sweepScript, d.Root, m.run)); err != nil {
		return fmt.Errorf("prepare %s on %s: %w", d.Root, m.name, err)
	}
	err = m.verify(ctx, d.releaseDir())
	var damaged *damagedError
	switch {
	case err == nil:
		// What cannot be noted is read whole the next time.
		_, _ = m.change(ctx, d.write("stats"), script(noteScript, d.releaseDir()))
		m.say(d, release.PhaseApply, release.MarkDone, release.ShortDigest(d.Digest)+" is on "+m.name, time.Since(began))
		return nil
	case errors.As(err, &damaged):
		m.say(d, release.PhaseApply, release.MarkNote, damaged.Error()+"; it is unpacked again", 0)
	case !errors.Is(err, errAbsent):
		return err
	}
	m.say(d, release.PhaseApply, release.MarkStart, "unpack "+release.ShortDigest(d.Digest)+" on "+m.name, 0)
	if err := m.unpack(ctx, d, role.Reference(), c); err != nil {
		return fmt.Errorf("unpack %s: %w", release.ShortDigest(d.Digest), err)
	}
	m.say(d, release.PhaseApply, release.MarkDone, "unpacked "+release.ShortDigest(d.Digest)+" on "+m.name, time.Since(began))
	return nil
}

func (m *machine) say(d definition, phase release.Phase, mark release.Mark, message string, took time.Duration) {
	m.o.Progress.Report(release.Event{Phase: phase, Mark: mark, Role: d.Role, Message: message, Took: took})
}

// unpack stages the content, verifies it there and renames it into place.
func (m *machine) unpack(ctx context.Context, d definition, ref string, c content) (err error) {
	layers, err := c.Layers(ctx, ref, m.platform)
	if err != nil {
		return err
	}
	staging := path.Join(d.Root, "staging", path.Base(d.releaseDir())+"."+m.run+"."+newID())
	defer func() {
		if err == nil {
			return
		}
		// A connection that is lost leaves the staging to the next run.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		removal := m.changeTree(ctx, d.write("discard"), staging, script(removeScript, staging))
		var full *diskFullError
		if errors.As(err, &full) {
			full.FreeKiB = m.free(ctx, d.Root).free
		}
		var lost *lostError
		if !errors.As(err, &lost) {
			err = errors.Join(err, removal)
		}
	}()
	if err := m.stream(ctx, d, staging, layers); err != nil {
		return err
	}
	err = m.verify(ctx, staging)
	if errors.Is(err, errAbsent) {
		return &damagedError{Machine: m.name, Path: staging, Differences: []string{"what was sent ended early"}}
	}
	if err != nil {
		return err
	}
	return m.changeTree(ctx, d.write("seal"), d.releaseDir(), script(sealScript, staging, d.releaseDir(), staging+".old", m.repaired(d)))
}

// repaired is where content waits that is to replace a damaged release directory
// in which a process works: activate puts it there when the process has ended.
func (m *machine) repaired(d definition) string {
	return path.Join(d.Root, "staging", path.Base(d.releaseDir())+"."+m.run+".repaired")
}

// changeTree runs a script that removes or seals folders below dir. That
// something is mounted there is a *mountedError.
func (m *machine) changeTree(ctx context.Context, w write, dir string, cmd command) error {
	cmd.Tolerate = append(cmd.Tolerate, exitMounted)
	res, err := m.change(ctx, w, cmd)
	if err == nil && res.Exit == exitMounted {
		return m.mounted(dir, res.Stdout)
	}
	return err
}

// mounted is the error of a script that found mount points and printed them.
func (m *machine) mounted(dir, out string) *mountedError {
	fault := &mountedError{Machine: m.name, Path: dir}
	for _, line := range lines(out) {
		if at, found := strings.CutPrefix(line, "Mount="); found {
			fault.Mounts = append(fault.Mounts, at)
		}
	}
	return fault
}

// stream sends the flattened layers to the machine's tar.
func (m *machine) stream(ctx context.Context, d definition, staging string, layers []layer) error {
	out, in := io.Pipe()
	produced := make(chan error, 1)
	go func() {
		err := flatten(ctx, in, layers)
		in.CloseWithError(err)
		produced <- err
	}()
	_, err := m.change(ctx, d.write("unpack"), script(unpackScript, staging).with(out))
	_ = out.CloseWithError(errConsumed)
	made := <-produced
	var lost *lostError
	var exit *exitError
	switch {
	case errors.As(err, &lost):
		return err
	case made != nil && !errors.Is(made, errConsumed):
		return made
	case errors.As(err, &exit) && isDiskFull(exit.Stderr):
		at := m.free(ctx, d.Root)
		return &diskFullError{Machine: m.name, Path: staging, FileSystem: at.device, Mount: at.mount}
	}
	return err
}

var (
	errAbsent   = errors.New("not there")
	errConsumed = errors.New("nobody reads any more")
)

func isDiskFull(stderr string) bool {
	return strings.Contains(stderr, "No space left on device") || strings.Contains(stderr, "quota exceeded")
}

// verify reads a release directory back and compares it with its own lists:
// every entry, its kind, its owner, the target of every link, the hash of every
// file. errAbsent: there is none; *DamagedError: it differs; *MountedError:
// something is mounted there.
func (m *machine) verify(ctx context.Context, dir string) error {
	return m.compareContent(ctx, dir, verifyScript)
}

// quickVerify is verify by what the kernel tells of every entry: the content is
// read only if that is not as it was.
func (m *machine) quickVerify(ctx context.Context, dir string) error {
	return m.compareContent(ctx, dir, quickScript)
}

func (m *machine) compareContent(ctx context.Context, dir, body string) error {
	cmd := script(body, dir)
	cmd.Tolerate = []int{exitAbsent, exitDamaged, exitMounted}
	res, err := m.read(ctx, cmd)
	switch {
	case err != nil:
		return fmt.Errorf("verify %s: %w", dir, err)
	case res.Exit == exitAbsent:
		return errAbsent
	case res.Exit == exitMounted:
		return m.mounted(dir, res.Stdout)
	case res.Exit == exitDamaged:
		return &damagedError{Machine: m.name, Path: dir, Differences: head(lines(res.Stdout+res.Stderr), 5)}
	}
	return nil
}

// disk is the file system that holds a path.
type disk struct {
	device, mount string
	free          int64 // KiB
}

// free asks for the file system of the nearest folder that is there; what it
// cannot learn stays empty.
func (m *machine) free(ctx context.Context, dir string) disk {
	res, err := m.read(ctx, script(diskScript, dir))
	if err != nil {
		return disk{}
	}
	return parseDisk(res.Stdout)
}

// parseDisk reads df -Pk: the last line is device, blocks, used, free, percent
// and mount point, which alone may hold spaces.
func parseDisk(out string) disk {
	all := lines(out)
	if len(all) == 0 {
		return disk{}
	}
	fields := strings.Fields(all[len(all)-1])
	if len(fields) < 6 {
		return disk{}
	}
	free, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return disk{}
	}
	return disk{device: fields[0], mount: strings.Join(fields[5:], " "), free: free}
}

// lines are those that are not blank.
func lines(s string) []string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if strings.TrimSpace(l) != "" {
			out = append(out, strings.TrimRight(l, "\r"))
		}
	}
	return out
}

func head(list []string, n int) []string { return list[:min(n, len(list))] }
