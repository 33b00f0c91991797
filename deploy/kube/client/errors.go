package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// ConfigError says that no cluster is configured under the given names.
type ConfigError struct {
	Kubeconfig, Context string // as asked for; may be empty
	Err                 error
}

func (e *ConfigError) Error() string {
	switch {
	case e.Context != "":
		return fmt.Sprintf("kubeconfig context %q: %s", e.Context, release.OneLine(e.Err.Error()))
	case e.Kubeconfig != "":
		return fmt.Sprintf("kubeconfig %s: %s", e.Kubeconfig, release.OneLine(e.Err.Error()))
	default:
		return "no cluster is configured: " + release.OneLine(e.Err.Error())
	}
}

func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ConfigError) Hint() string {
	return "name a cluster with --kubeconfig FILE, --context NAME or KUBECONFIG; `kubectl config get-contexts` lists them"
}

// UnreachableError says that no API server answered.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cluster %s is not reachable: %s", e.Host, release.OneLine(rootCause(e.Err)))
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Temporary is true: the same call may succeed later.
func (e *UnreachableError) Temporary() bool { return true }

// Hint says what to do.
func (e *UnreachableError) Hint() string {
	return "is the cluster up, and the VPN? --context NAME picks another one; `kubectl cluster-info` tries the same address"
}

// UnauthorizedError says that the API server does not know the caller.
type UnauthorizedError struct {
	Host string
	Err  error
}

func (e *UnauthorizedError) Error() string {
	return fmt.Sprintf("cluster %s does not accept these credentials", e.Host)
}

func (e *UnauthorizedError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *UnauthorizedError) Hint() string {
	return "log in again, or name other credentials with --kubeconfig or --context; `kubectl auth whoami` shows who you are"
}

// ForbiddenHint says what to do about a permission that is missing.
const ForbiddenHint = "`shipit rbac` prints the least Role that suffices; have it bound to this user"

// ForbiddenError says what the caller may not do.
type ForbiddenError struct {
	Verb, Resource, Namespace string // Namespace is empty for the whole cluster
	Err                       error
}

func (e *ForbiddenError) Error() string {
	where := "in the whole cluster"
	if e.Namespace != "" {
		where = "in namespace " + e.Namespace
	}
	if e.Verb == "" {
		return "forbidden: " + release.OneLine(e.Err.Error())
	}
	return fmt.Sprintf("not allowed to %s %s %s", e.Verb, e.Resource, where)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ForbiddenError) Hint() string {
	return ForbiddenHint
}

// forbiddenWording is how the API server words the refusal of any authorizer.
var forbiddenWording = pattern.Lazy(`cannot (\S+) resource "([^"]+)"(?: in API group "([^"]*)")?(?:.* in the namespace "([^"]+)")?`)

// explain gives the errors that a caller tells apart their own types; every
// other error is returned as it came.
func (c *Client) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case apierrors.IsUnauthorized(err):
		return &UnauthorizedError{Host: c.host, Err: err}
	case apierrors.IsForbidden(err):
		m := forbiddenWording().FindStringSubmatch(err.Error())
		if m == nil {
			return err // refused by admission, not by authorization
		}
		resource := m[2]
		if m[3] != "" {
			resource += "." + m[3]
		}
		return &ForbiddenError{Verb: m[1], Resource: resource, Namespace: m[4], Err: err}
	}
	if wrong := c.misconfigured(err); wrong != nil {
		return wrong
	}
	if errors.As(err, new(*silentError)) || c.disconnected(err) {
		return &UnreachableError{Host: c.host, Err: err}
	}
	return err
}

// disconnected reports whether the request may never have been answered, and is
// worth repeating.
func (c *Client) disconnected(err error) bool {
	if errors.As(err, new(*silentError)) || c.misconfigured(err) != nil {
		return false
	}
	var netErr net.Error
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		// etcd not ready, or the server shutting down; or a proxy that does not reach it.
		return apierrors.IsServiceUnavailable(err) && !strings.Contains(err.Error(), "admission") || notItsOwn(status)
	}
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsHTTP2ConnectionLost(err) || errors.As(err, &netErr) || errors.Is(err, io.ErrUnexpectedEOF)
}

// notItsOwn reports whether an answer is a failure in other words than an API
// server's: something before it answers in its place.
func notItsOwn(answer apierrors.APIStatus) bool {
	s := answer.Status()
	if s.Code < http.StatusInternalServerError || s.Details == nil {
		return false
	}
	return slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
}

func rootCause(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && notItsOwn(status) {
		code := int(status.Status().Code)
		return fmt.Sprintf("it answers %d %s", code, http.StatusText(code))
	}
	var silent *silentError
	if errors.As(err, &silent) {
		return silent.Error()
	}
	var u *url.Error
	if errors.As(err, &u) {
		if strings.Contains(u.Err.Error(), noTLS) {
			return "what answers there does not speak TLS"
		}
		return u.Err.Error()
	}
	return err.Error()
}

// IsGone reports whether the object does not exist any more, or is another one than was meant.
func IsGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
