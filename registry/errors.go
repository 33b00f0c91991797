package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/joelhooks/shipit/release"
)

// TagTakenError says that a tag which is written once names another image.
// Nothing was changed.
type TagTakenError struct{ Ref, Wanted, Found string }

func (e *TagTakenError) Error() string {
	return fmt.Sprintf("tag %s is taken: it names %s, this build is %s",
		e.Ref, release.ShortDigest(e.Found), release.ShortDigest(e.Wanted))
}

// Hint says what to do.
func (e *TagTakenError) Hint() string {
	return "a tag is never moved: find out which build wrote it, and commit again, or delete the tag in the registry"
}

// TagMovedError says that someone wrote a tag between the look before and the
// look after it was put. Found is empty if the tag is gone.
type TagMovedError struct{ Ref, Wanted, Found string }

func (e *TagMovedError) Error() string {
	found := "nothing"
	if e.Found != "" {
		found = release.ShortDigest(e.Found)
	}
	return fmt.Sprintf("tag %s was moved while it was put: wanted %s, it names %s", e.Ref, release.ShortDigest(e.Wanted), found)
}

// Hint says what to do.
func (e *TagMovedError) Hint() string {
	return "two builds of one commit ran at once and differ: let one finish, then see why their bytes differ"
}

// AuthError says that a registry knows us not, or does not let us.
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
	s := fmt.Sprintf("%s lets %s not %s %s", e.Host, who, e.Action, e.Repository)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Hint says which permission is missing, and how one gets it.
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
	return "check its name; some registries also say this of what the credentials may not see"
}

// UnreachableError says that a registry did not answer, or that it kept on
// asking to come later.
type UnreachableError struct {
	Host string
	// Temporary tells a registry that is busy or cut us off from one that is not there.
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

// CorruptError says that a registry holds or serves other bytes than the ones
// that a digest names.
type CorruptError struct{ Ref, Detail string }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is not what it should be: %s", e.Ref, e.Detail)
}

// Hint says what to do.
func (e *CorruptError) Hint() string {
	return "do not use this image: the registry, or something before it, changed or lost its bytes"
}

// MissingBlobError says that a blob is neither in the registry nor here.
type MissingBlobError struct {
	Repository, Digest string
	Cause              error // why it cannot be read here
}

func (e *MissingBlobError) Error() string {
	return fmt.Sprintf("blob %s is not in %s and not here: %s", release.ShortDigest(e.Digest), e.Repository, oneLine(e.Cause.Error()))
}

func (e *MissingBlobError) Unwrap() error { return e.Cause }

// Hint says what to do.
func (e *MissingBlobError) Hint() string { return "build again without the cache" }

// Explain makes one of this package's errors of what a library returned that
// was given RemoteOptions; nil stays nil.
func (c *Client) Explain(ctx context.Context, action, ref string, err error) error {
	if err == nil {
		return nil
	}
	r, perr := parse(ref)
	if perr != nil {
		return perr
	}
	s := &session{repo: r.Context(), action: action}
	if auth, aerr := authn.Resolve(ctx, c.keychain, r.Context()); aerr == nil {
		if config, aerr := authn.Authorization(ctx, auth); aerr == nil {
			s.secrets = secretsOf(config)
			s.known = len(s.secrets) > 0
		}
	}
	return c.explain(ctx, s, ref, err)
}

// explain turns what the library or the network said into one typed line.
func (c *Client) explain(ctx context.Context, s *session, ref string, err error) error {
	host := s.repo.RegistryStr()
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", s.action, ref, context.Cause(ctx))
	}
	if own := typed(err); own != nil {
		return own
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		message := s.scrub(diagnosis(answer))
		switch {
		case refuses(answer):
			return &AuthError{
				Host: host, Repository: s.repo.Name(), Action: s.action, Anonymous: !s.known,
				Message: message, actions: c.actions,
			}
		case answer.StatusCode == http.StatusNotFound:
			return &NotFoundError{Ref: ref}
		case busy(answer.StatusCode):
			return &UnreachableError{Host: host, Temporary: true, Cause: errors.New(message)}
		}
		return fmt.Errorf("%s %s: %s", s.action, ref, message)
	}
	if strings.Contains(err.Error(), speaksHTTP) && !loopback(s.repo.Registry.RegistryStr()) {
		return &PlainHTTPError{Host: host}
	}
	var wire *url.Error
	if errors.As(err, &wire) {
		return &UnreachableError{Host: host, Temporary: passing(wire.Err), Cause: innermost(wire.Err)}
	}
	if mismatch(err) {
		return &CorruptError{Ref: ref, Detail: s.scrub(oneLine(err.Error()))}
	}
	return fmt.Errorf("%s %s: %s", s.action, ref, s.scrub(oneLine(err.Error())))
}

// speaksHTTP is how net/http reports a server without TLS; it has no type.
const speaksHTTP = "server gave HTTP response to HTTPS client"

// typed finds an error of this package in err, or nil. Errors of two attempts,
// by TLS and without, may be joined in it; that the second one was refused for
// its plain HTTP says nothing about the first.
func typed(err error) error {
	for _, find := range []func(error) error{
		as[*TagTakenError], as[*TagMovedError], as[*AuthError], as[*NotFoundError],
		as[*UnreachableError], as[*CorruptError], as[*MissingBlobError],
	} {
		if own := find(err); own != nil {
			return own
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if plain, ok := e.(*PlainHTTPError); ok {
			return plain
		}
	}
	return nil
}

func as[T error](err error) error {
	var own T
	if errors.As(err, &own) {
		return own
	}
	return nil
}

func refuses(e *transport.Error) bool {
	if e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden {
		return true
	}
	for _, d := range e.Errors {
		if d.Code == transport.UnauthorizedErrorCode || d.Code == transport.DeniedErrorCode {
			return true
		}
	}
	return false
}

// diagnosis is what the registry said, without the request's URL, which may
// hold a signature.
func diagnosis(e *transport.Error) string {
	for _, d := range e.Errors {
		if d.Message != "" || d.Code != "" {
			return oneLine(strings.Trim(string(d.Code)+": "+d.Message, ": "))
		}
	}
	return fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))
}

// innermost is the cause below the layers that repeat addresses and requests.
func innermost(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// scrub blots out the session's credentials in what a registry echoed.
func (s *session) scrub(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// secretsOf lists the spellings in which credentials can be echoed.
func secretsOf(c *authn.AuthConfig) []string {
	var secrets []string
	for _, s := range []string{c.Password, c.Auth, c.IdentityToken, c.RegistryToken} {
		if s != "" {
			secrets = append(secrets, s)
		}
	}
	if c.Username != "" && c.Password != "" {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)))
	}
	return secrets
}

// oneLine is the first line of a text, at most 300 bytes of it.
func oneLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return strings.TrimSpace(text)
}
