package host

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// hostKeyError says that a machine did not prove to be the known one. Nothing
// was sent to it.
type hostKeyError struct {
	Host        string // host:port
	File        string // known_hosts
	Fingerprint string // SHA256:… of what it showed; empty if it showed nothing
	Changed     bool   // known, with another key
}

func (e *hostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("host key of %s is not the one in %s: it shows %s", e.Host, e.File, e.Fingerprint)
	}
	return fmt.Sprintf("host key of %s is not in %s: it shows %s", e.Host, e.File, e.Fingerprint)
}

// Hint says what to do.
func (e *hostKeyError) Hint() string {
	host, port := splitPort(e.Host)
	if e.Changed {
		return fmt.Sprintf("find out why it changed; if that is in order: ssh-keygen -f %s -R '%s', then add the new key", e.File, knownName(host, port))
	}
	return fmt.Sprintf("compare the fingerprint on the machine itself, then: ssh-keyscan -p %s %s >> %s", port, host, e.File)
}

// authError says that a machine does not let us in.
type authError struct {
	Host, User string
	Err        error
}

func (e *authError) Error() string {
	return fmt.Sprintf("%s does not let %s in: %s", e.Host, e.User, oneLine(e.Err.Error()))
}

func (e *authError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *authError) Hint() string {
	return "name a private key with host.key, or load one with ssh-add; its public part must stand in the user's authorized_keys"
}

// unreachableError says that no SSH server answered.
type unreachableError struct {
	Host string
	Err  error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("host %s is not reachable: %s", e.Host, oneLine(e.Err.Error()))
}

func (e *unreachableError) Unwrap() error { return e.Err }

// Temporary is true: the same call may succeed later.
func (e *unreachableError) Temporary() bool { return true }

// Hint says what to do.
func (e *unreachableError) Hint() string {
	host, port := splitPort(e.Host)
	return fmt.Sprintf("is it up, and SSH switched on? `ssh -p %s %s true` tries the same way", port, host)
}

// lostError says that a connection died in the middle of something.
type lostError struct {
	Host  string
	Doing string
	Err   error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("connection to %s was lost during %s: %s", e.Host, e.Doing, oneLine(e.Err.Error()))
}

func (e *lostError) Unwrap() error { return e.Err }

// Temporary is true: a new connection may do it.
func (e *lostError) Temporary() bool { return true }

// Hint says what to do.
func (e *lostError) Hint() string {
	return "run the same command again: what was half done is finished or undone"
}

// diskFullError says that a file system had no room. What was staged there has
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

// damagedError says that unpacked content is not what was sent.
type damagedError struct {
	Machine, Path string
	Differences   []string // the first few
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("content of %s on %s is damaged: %s", e.Path, e.Machine, strings.Join(e.Differences, "; "))
}

// mountedError says that something is mounted in a folder that was to be removed
// or sealed. Nothing was changed there.
type mountedError struct {
	Machine, Path string
	Mounts        []string // mount points at or below Path
}

func (e *mountedError) Error() string {
	return fmt.Sprintf("%s on %s is left alone: something is mounted at %s", e.Path, e.Machine, strings.Join(e.Mounts, ", "))
}

// Hint says what to do.
func (e *mountedError) Hint() string {
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

// exitError says that a program on the machine ended with another code than 0.
type exitError struct {
	Machine, Program string
	Exit             int
	Stderr           string
}

func (e *exitError) Error() string {
	s := fmt.Sprintf("%s on %s: exit code %d", e.Program, e.Machine, e.Exit)
	if text := oneLine(e.Stderr); text != "" {
		s += ": " + text
	}
	return s
}

// oneLine is text for a message: its lines joined, and not too much of it.
func oneLine(s string) string {
	const limit = 400
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return s
}
