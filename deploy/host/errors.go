package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// HostKeyError says that a machine did not prove to be the known one. Nothing
// was sent to it.
type HostKeyError struct {
	Host        string // host:port
	File        string // known_hosts
	Fingerprint string // SHA256:… of what it showed; empty if it showed nothing
	Changed     bool   // known, with another key
}

func (e *HostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("host key of %s is not the one in %s: it shows %s", e.Host, e.File, e.Fingerprint)
	}
	return fmt.Sprintf("host key of %s is not in %s: it shows %s", e.Host, e.File, e.Fingerprint)
}

// Hint says what to do.
func (e *HostKeyError) Hint() string {
	host, port := splitPort(e.Host)
	if e.Changed {
		return fmt.Sprintf("find out why it changed; if that is in order: ssh-keygen -f %s -R '%s', then add the new key", e.File, knownName(host, port))
	}
	return fmt.Sprintf("compare the fingerprint on the machine itself, then: ssh-keyscan -p %s %s >> %s", port, host, e.File)
}

// AuthError says that a machine does not let us in.
type AuthError struct {
	Host, User string
	Err        error
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("%s does not let %s in: %s", e.Host, e.User, oneLine(e.Err.Error()))
}

func (e *AuthError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *AuthError) Hint() string {
	return "name a private key with host.key, or load one with ssh-add; its public part must stand in the user's authorized_keys"
}

// UnreachableError says that no SSH server answered.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("host %s is not reachable: %s", e.Host, oneLine(e.Err.Error()))
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Temporary is true: the same call may succeed later.
func (e *UnreachableError) Temporary() bool { return true }

// Hint says what to do.
func (e *UnreachableError) Hint() string {
	host, port := splitPort(e.Host)
	return fmt.Sprintf("is it up, and SSH switched on? `ssh -p %s %s true` tries the same way", port, host)
}

// LostError says that a connection died in the middle of something.
type LostError struct {
	Host  string
	Doing string
	Err   error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("connection to %s was lost during %s: %s", e.Host, e.Doing, oneLine(e.Err.Error()))
}

func (e *LostError) Unwrap() error { return e.Err }

// Temporary is true: a new connection may do it.
func (e *LostError) Temporary() bool { return true }

// Hint says what to do.
func (e *LostError) Hint() string {
	return "run the same command again: what was half done is finished or undone"
}

// DiskFullError says that a file system had no room. What was staged there has
// been removed.
type DiskFullError struct {
	Machine, Path string
	FileSystem    string // the device, as df names it
	Mount         string
	FreeKiB       int64 // after the staged files were removed
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("no space left on %s: file system %s at %s, unpacking %s", e.Machine, e.FileSystem, e.Mount, e.Path)
}

// Hint says what to do.
func (e *DiskFullError) Hint() string {
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

// LayerError says that an image's layer cannot be unpacked. Nothing of it was
// put into place.
type LayerError struct {
	DiffID, Path string // Path is empty if the layer as a whole is at fault
	Reason       string
}

func (e *LayerError) Error() string {
	s := "layer " + release.ShortDigest(e.DiffID)
	if e.Path != "" {
		s += fmt.Sprintf(", %q", e.Path)
	}
	return s + ": " + e.Reason
}

// ExitError says that a program on the machine ended with another code than 0.
type ExitError struct {
	Machine, Program string
	Exit             int
	Stderr           string
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s on %s: exit code %d", e.Program, e.Machine, e.Exit)
	if text := oneLine(e.Stderr); text != "" {
		s += ": " + text
	}
	return s
}

// Refused is an error of Connect as a finding of the role.
func Refused(role string, err error) release.Finding {
	f := release.Finding{Code: release.CodeHostUnreachable, Severity: release.Refuses, Role: role, Message: err.Error(), Fixed: true}
	var key *HostKeyError
	var auth *AuthError
	switch {
	case errors.As(err, &key) && key.Changed:
		f.Code = release.CodeHostKeyChanged
	case errors.As(err, &key):
		f.Code = release.CodeHostKeyUnknown
	case errors.As(err, &auth):
		f.Code = release.CodeHostAuth
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		f.Hint = hinted.Hint()
	}
	return f
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
