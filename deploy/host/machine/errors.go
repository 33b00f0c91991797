package machine

import (
	"errors"
	"fmt"
	"strings"
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

// AuthError says that a machine does not let us in.
type AuthError struct {
	Host, User string
	Err        error
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("%s does not let %s in: %s", e.Host, e.User, Excerpt(e.Err.Error()))
}

func (e *AuthError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *AuthError) Hint() string {
	return "name a private key with host.key, or load one with ssh-add; its public part must stand in the user's authorized_keys"
}

// unreachableError says that no SSH server answered.
type unreachableError struct {
	Host string
	Err  error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("host %s is not reachable: %s", e.Host, Excerpt(e.Err.Error()))
}

func (e *unreachableError) Unwrap() error { return e.Err }

// Temporary is true: the same call may succeed later.
func (e *unreachableError) Temporary() bool { return true }

// Hint says what to do.
func (e *unreachableError) Hint() string {
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
	return fmt.Sprintf("connection to %s was lost during %s: %s", e.Host, e.Doing, Excerpt(e.Err.Error()))
}

func (e *LostError) Unwrap() error { return e.Err }

// Temporary is true: a new connection may do it.
func (e *LostError) Temporary() bool { return true }

// Hint says what to do.
func (e *LostError) Hint() string {
	return "run the same command again: what was half done is finished or undone"
}

// ExitError says that a program on the machine ended with another code than 0.
type ExitError struct {
	Machine, Program string
	Exit             int
	Stderr           string
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s on %s: exit code %d", e.Program, e.Machine, e.Exit)
	if text := Excerpt(e.Stderr); text != "" {
		s += ": " + text
	}
	return s
}

// IsExit reports whether a program was run to its end and failed.
func IsExit(err error) bool {
	var exit *ExitError
	return errors.As(err, &exit)
}

// Excerpt is text for a message: its lines joined, and not too much of it.
func Excerpt(s string) string {
	const limit = 400
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return s
}
