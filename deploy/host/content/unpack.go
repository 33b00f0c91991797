package content

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"time"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

// Unpack stages the content of the layers (lowest first), verifies it on the machine
// and renames it to its release directory. A damaged release directory in which a process works
// stays where it is: the new content waits as its Replacement. It returns the Files of
// the layers.
//
// Errors: *layerError, *diskFullError, *DamagedError, *MountedError,
// *machine.LostError; after each of them the release directory is what it was.
func (s Store) Unpack(ctx context.Context, digest string, layers []Layer) (files string, err error) {
	dir := s.dir(digest)
	staging := path.Join(s.staging(), path.Base(dir)+"."+s.Machine.Run+"."+machine.NewID())
	defer func() {
		if err != nil {
			err = s.discard(ctx, staging, err)
		}
	}()
	if files, err = s.stream(ctx, staging, layers); err != nil {
		return "", err
	}
	err = s.runVerify(ctx, staging, files, verifyScript)
	if errors.Is(err, ErrAbsent) {
		return "", &DamagedError{Machine: s.Machine.Name, Path: staging, Differences: []string{"what was sent ended early"}}
	}
	if err != nil {
		return "", err
	}
	return files, s.changeTree(ctx, "seal", dir, machine.Script(sealScript, staging, dir, staging+".old", s.ReplacementDir(digest)))
}

// discard removes what was staged before the fault, and returns the fault. After a
// connection was lost, the next run removes it.
func (s Store) discard(ctx context.Context, staging string, fault error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	removal := s.changeTree(ctx, "discard", staging, machine.Script(removeScript, staging))
	var full *diskFullError
	if errors.As(fault, &full) {
		full.FreeKiB = s.fileSystem(ctx).FreeKiB
	}
	var lost *machine.LostError
	if errors.As(fault, &lost) {
		return fault
	}
	return errors.Join(fault, removal)
}

// errConsumed ends the making of a tar that nobody reads any more.
var errConsumed = errors.New("nobody reads any more")

// sendingLimit is how long it may take to send an image; the lock is lost long before if
// the machine does not answer.
const sendingLimit = time.Hour

// stream sends the flattened layers to the machine's tar.
func (s Store) stream(ctx context.Context, staging string, layers []Layer) (files string, err error) {
	out, in := io.Pipe()
	produced := make(chan error, 1)
	go func() {
		var err error
		files, err = flatten(ctx, in, layers)
		in.CloseWithError(err)
		produced <- err
	}()
	cmd := machine.Script(unpackScript, staging).With(out)
	cmd.Limit = sendingLimit
	_, err = s.Machine.Change(ctx, s.write("unpack"), cmd)
	_ = out.CloseWithError(errConsumed)
	made := <-produced
	var lost *machine.LostError
	var exit *machine.ExitError
	switch {
	case errors.As(err, &lost):
		return "", err
	case made != nil && !errors.Is(made, errConsumed):
		return "", made
	case errors.As(err, &exit) && isDiskFull(exit.Stderr):
		at := s.fileSystem(ctx)
		return "", &diskFullError{Machine: s.Machine.Name, Path: staging, FileSystem: at.Device, Mount: at.Mount}
	}
	return files, err
}

func isDiskFull(stderr string) bool {
	return strings.Contains(stderr, "No space left on device") || strings.Contains(stderr, "quota exceeded")
}
