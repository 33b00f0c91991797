package registry

import (
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// TagTakenError says that a tag names another image already. Nothing was changed.
type TagTakenError struct{ Ref, Wanted, Found string }

func (e *TagTakenError) Error() string {
	return fmt.Sprintf("tag %s already names %s, this build is %s",
		e.Ref, release.ShortDigest(e.Found), release.ShortDigest(e.Wanted))
}

// Hint says what to do.
func (e *TagTakenError) Hint() string {
	return "a tag is never moved: find out which build wrote it, and commit again, or delete the tag in the registry"
}

// TagMovedError says that someone else wrote a tag while it was being written. Found
// is empty if the tag is gone.
type TagMovedError struct{ Ref, Wanted, Found string }

func (e *TagMovedError) Error() string {
	found := "nothing"
	if e.Found != "" {
		found = release.ShortDigest(e.Found)
	}
	return fmt.Sprintf("tag %s was moved while it was written: wanted %s, it names %s", e.Ref, release.ShortDigest(e.Wanted), found)
}

// Hint says what to do.
func (e *TagMovedError) Hint() string {
	return "two builds of one commit ran at once and differ: let one finish, then see why their bytes differ"
}

// AuthError says that a registry rejects the credentials or denies access.
type AuthError struct {
	Host       string
	Repository string // with the host
	Action     string // "pull" or "push"
	Anonymous  bool   // no credentials were found for the host
	Message    string // what the registry said, one line
	actions    bool
}

func (e *AuthError) Error() string {
	who := "the credentials in use"
	if e.Anonymous {
		who = "an anonymous client"
	}
	s := fmt.Sprintf("%s does not allow %s to %s %s", e.Host, who, e.Action, e.Repository)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Hint says which permission is missing and how to get it.
func (e *AuthError) Hint() string {
	scope := "read:packages"
	if e.Action == push {
		scope = "write:packages"
	}
	access := strings.Split(scope, ":")[0]
	switch {
	case e.Host == ghcr && e.actions:
		return fmt.Sprintf("give the job `permissions: packages: %s` and GITHUB_TOKEN, and let the package grant this repository access", access)
	case e.Host == ghcr:
		return fmt.Sprintf("log in with a token that has %s: `gh auth refresh -s %s`, then `gh auth token | docker login ghcr.io -u USER --password-stdin`", scope, scope)
	case e.Anonymous:
		return fmt.Sprintf("log in: docker login %s", e.Host)
	}
	return fmt.Sprintf("check the user, the password and their right to %s: docker login %s", e.Action, e.Host)
}

// NotFoundError says that a registry has no such tag, manifest or repository.
type NotFoundError struct{ Ref string }

func (e *NotFoundError) Error() string { return e.Ref + " is not in the registry" }

// Hint says what to do.
func (e *NotFoundError) Hint() string {
	return "check its name; some registries also answer this if the credentials lack access"
}

// UnreachableError says that a registry did not answer, or stayed busy.
type UnreachableError struct {
	Host string
	// Temporary is true if the registry is busy or broke the connection, false if it
	// could not be reached.
	Temporary bool
	Cause     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("registry %s does not answer: %s", e.Host, oneLine(e.Cause.Error()))
}

func (e *UnreachableError) Unwrap() error { return e.Cause }

// Hint says what to do.
func (e *UnreachableError) Hint() string {
	if e.Temporary {
		return "the registry is busy or its network is: try again later, nothing was left half done"
	}
	return fmt.Sprintf("is %s the right name, does the registry run, and does this machine reach it?", e.Host)
}

// PlainHTTPError says that a registry speaks no TLS and is not on this machine.
type PlainHTTPError struct{ Host string }

func (e *PlainHTTPError) Error() string {
	return fmt.Sprintf("registry %s speaks plain HTTP", e.Host)
}

// Hint says what to do.
func (e *PlainHTTPError) Hint() string {
	return "plain HTTP is for registries on localhost; give this one a certificate"
}

// CorruptError says that a registry has bytes that do not match their digest.
type CorruptError struct{ Ref, Detail string }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is not what it should be: %s", e.Ref, e.Detail)
}

// Hint says what to do.
func (e *CorruptError) Hint() string {
	return "do not use this image: the registry, or something before it, changed or lost its bytes"
}

// MissingBlobError says that a blob is neither in the registry nor on this machine.
type MissingBlobError struct {
	Repository, Digest string
	Cause              error // why it cannot be read on this machine
}

func (e *MissingBlobError) Error() string {
	return fmt.Sprintf("blob %s is neither in %s nor on this machine: %s", release.ShortDigest(e.Digest), e.Repository, oneLine(e.Cause.Error()))
}

func (e *MissingBlobError) Unwrap() error { return e.Cause }

// Hint says what to do.
func (e *MissingBlobError) Hint() string { return "build again without the cache" }
