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

// Unpack stages the content of an image, verifies it on the machine and renames it to its
// release directory. A damaged release directory in which a process works stays where it
// is: the new content waits as its Replacement. like is a folder, or a link to one, that
// may hold the same files: what its lists say to be equal is copied there and not sent. It
// returns the Files of the image.
//
// Errors: *layerError, *diskFullError, *DamagedError, *MountedError,
// *machine.LostError; after each of them the release directory is what it was.
func (s Store) Unpack(ctx context.Context, digest string, tree *Tree, like string) (files string, err error) {
	u := unpacking{Store: s, dir: s.dir(digest), like: like, has: s.hashes(ctx, like), send: tree.send}
	files, omitted, err := u.run(ctx)
	var damaged *DamagedError
	switch {
	case isSpoolError(err):
		u.has, u.send = nil, func(ctx context.Context, w io.Writer, _ map[string]string) (files string, omitted []string, err error) {
			files, err = tree.direct(ctx, w)
			return files, nil, err
		}
		files, _, err = u.run(ctx)
	case omitted > 0 && errors.As(err, &damaged):
		u.has = nil // what its lists say of the folder is not so
		files, _, err = u.run(ctx)
	}
	if err == nil {
		err = s.changeTree(ctx, "seal", u.dir, machine.Script(sealScript, u.staging, u.dir, u.staging+".old", s.ReplacementDir(digest)))
	}
	if err != nil {
		return "", s.discard(ctx, u.staging, err)
	}
	return files, nil
}

// hashes are the SHA-256 of the files of a release directory by their ./path, as its own
// list has them. What cannot be read is not there.
func (s Store) hashes(ctx context.Context, dir string) map[string]string {
	res, err := s.Machine.Read(ctx, machine.Script(`[ ! -f "$1/$2" ] || cat "$1/$2"`, dir, Manifest))
	if err != nil {
		return nil
	}
	has := map[string]string{}
	for line := range strings.Lines(res.Stdout) {
		if sum, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); found && len(sum) == 64 {
			has[name] = sum // a name that is written otherwise begins with a backslash
		}
	}
	return has
}

// unpacking is the content of an image on its way into a staging directory.
type unpacking struct {
	Store
	dir     string // the release directory
	staging string // of the last run
	like    string
	has     map[string]string // what need not be sent
	send    func(ctx context.Context, w io.Writer, has map[string]string) (files string, omitted []string, err error)
}

// run stages and verifies the content. omitted is how many files were copied on the
// machine. What an earlier run has staged is removed.
func (u *unpacking) run(ctx context.Context) (files string, omitted int, err error) {
	if u.staging != "" {
		if err := u.changeTree(ctx, "discard", u.staging, machine.Script(removeScript, u.staging)); err != nil {
			return "", 0, err
		}
	}
	u.staging = path.Join(u.Store.staging(), path.Base(u.dir)+"."+u.Machine.Run+"."+machine.NewID())
	files, names, err := u.stream(ctx)
	if err != nil {
		return "", 0, err
	}
	if err := u.copy(ctx, names); err != nil {
		return "", len(names), err
	}
	err = u.runVerify(ctx, u.staging, files, verifyScript)
	if errors.Is(err, ErrAbsent) {
		err = &DamagedError{Machine: u.Machine.Name, Path: u.staging, Differences: []string{"what was sent ended early"}}
	}
	return files, len(names), err
}

// copy copies files of the folder that is alike. What is not there shows when all is
// verified.
func (u *unpacking) copy(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	list := strings.NewReader(strings.Join(names, "\x00") + "\x00")
	_, err := u.Machine.Change(ctx, u.write("copy"), machine.Script(copyScript, u.like, u.staging).With(list))
	var exit *machine.ExitError
	switch {
	case errors.As(err, &exit) && isDiskFull(exit.Stderr):
		return u.full(ctx)
	case errors.As(err, &exit):
		return &DamagedError{Machine: u.Machine.Name, Path: u.staging, Differences: []string{"not all was copied: " + machine.Excerpt(exit.Stderr)}}
	}
	return err
}

// full is the error of a disk that has no space left.
func (u *unpacking) full(ctx context.Context) error {
	at := u.fileSystem(ctx)
	return &diskFullError{Machine: u.Machine.Name, Path: u.staging, FileSystem: at.Device, Mount: at.Mount}
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

// stream sends the content to the machine's tar.
func (u *unpacking) stream(ctx context.Context) (files string, omitted []string, err error) {
	out, in := io.Pipe()
	produced := make(chan error, 1)
	go func() {
		var err error
		files, omitted, err = u.send(ctx, in, u.has)
		in.CloseWithError(err)
		produced <- err
	}()
	cmd := machine.Script(unpackScript, u.staging).With(out)
	cmd.Limit = sendingLimit
	_, err = u.Machine.Change(ctx, u.write("unpack"), cmd)
	_ = out.CloseWithError(errConsumed)
	made := <-produced
	var lost *machine.LostError
	var exit *machine.ExitError
	switch {
	case errors.As(err, &lost):
		return "", nil, err
	case made != nil && !errors.Is(made, errConsumed):
		return "", nil, made
	case errors.As(err, &exit) && isDiskFull(exit.Stderr):
		return "", nil, u.full(ctx)
	}
	return files, omitted, err
}

func isDiskFull(stderr string) bool {
	return strings.Contains(stderr, "No space left on device") || strings.Contains(stderr, "quota exceeded")
}
