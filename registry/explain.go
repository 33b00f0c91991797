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
)

// explainError turns an error of a library that was given RemoteOptions into one of
// this package's; nil stays nil.
func (c *Client) explainError(ctx context.Context, action, ref string, err error) error {
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

// explain turns an error of the library or the network into one of this package's.
func (c *Client) explain(ctx context.Context, s *session, ref string, err error) error {
	host := s.repo.RegistryStr()
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", s.action, ref, context.Cause(ctx))
	}
	if known := typed(err); known != nil {
		return known
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

// speaksHTTP is the text by which net/http reports a server without TLS; the error
// has no type.
const speaksHTTP = "server gave HTTP response to HTTPS client"

// typed finds an error of this package in err; nil if there is none. err may join the
// errors of an attempt with TLS and one without. Then the *PlainHTTPError of the
// second is ignored, because it says nothing about the first.
func typed(err error) error {
	for _, find := range []func(error) error{
		as[*TagTakenError], as[*TagMovedError], as[*AuthError], as[*NotFoundError],
		as[*UnreachableError], as[*CorruptError], as[*MissingBlobError],
	} {
		if found := find(err); found != nil {
			return found
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if insecure, ok := e.(*PlainHTTPError); ok {
			return insecure
		}
	}
	return nil
}

func as[T error](err error) error {
	var target T
	if errors.As(err, &target) {
		return target
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

// diagnosis is the registry's message, without the URL of the request, which may
// contain a signature.
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

// scrub masks the session's credentials in a text from the registry.
func (s *session) scrub(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// secretsOf lists the spellings in which a registry may echo credentials.
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

// mismatch recognises the library's errors for bytes under a wrong digest;
// their type is internal to it.
func mismatch(err error) bool {
	return strings.Contains(err.Error(), "error verifying") || strings.Contains(err.Error(), "does not match requested digest")
}
