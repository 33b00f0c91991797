// Package registry pushes images under tags that never move, and reads the image
// that a reference names.
//
// The digest identifies an image; tags are for humans to find it. So a tag is
// written once: it is read before and after it is written, and a tag that names
// another digest is an error. All waits and retries are in this package; an error
// that it returns is final, is one line, contains no secret, and has a Hint method
// that says what to do.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/joelhooks/shipit/release"
)

// Options configure a Client. The zero value works.
type Options struct {
	// Keychain finds credentials; nil is defaultKeychain.
	Keychain authn.Keychain
	// Progress is told how many bytes went up, as steps, and of every wait that a
	// registry asked for, as a note; nil is silent.
	Progress release.Progress
	// Transport carries the requests; nil is one that gives up dialling after 5 s.
	Transport http.RoundTripper
}

// Client connects to any number of registries. Several goroutines may use it at once.
type Client struct {
	keychain  authn.Keychain
	progress  release.Progress
	transport http.RoundTripper // base, with refusals, quirks and retries
	sleep     func(context.Context, time.Duration) error
	actions   bool // runs in GitHub Actions: hints differ

	mu       sync.Mutex
	sessions map[string]*session
}

// New makes a Client, without connecting to a registry.
func New(o Options) *Client { return newClient(o, sleep) }

func newClient(o Options, pause func(context.Context, time.Duration) error) *Client {
	if o.Keychain == nil {
		o.Keychain = defaultKeychain()
	}
	if o.Transport == nil {
		o.Transport = dialQuickly()
	}
	return &Client{
		keychain: o.Keychain,
		progress: o.Progress,
		transport: &retrier{
			inner: pingLimit{referrersQuirk{steady{plainHTTPGuard{guarded{o.Transport}}, stallLimit}}, 10 * time.Second},
			sleep: pause, progress: o.Progress,
		},
		sleep:    pause,
		actions:  os.Getenv("GITHUB_ACTIONS") == "true",
		sessions: map[string]*session{},
	}
}

// withKeychain is a Client with other credentials and its own sessions. It shares
// only the transport with c.
func (c *Client) withKeychain(k authn.Keychain) *Client {
	return &Client{
		keychain: k, progress: c.progress, transport: c.transport, sleep: c.sleep,
		actions: c.actions, sessions: map[string]*session{},
	}
}

// RemoteOptions are for libraries that use go-containerregistry themselves: they give
// the same credentials, workarounds and retries, without a second layer of retries.
func (c *Client) RemoteOptions(ctx context.Context) []remote.Option {
	return append(singleAttempt(ctx), remote.WithTransport(c.transport), remote.WithAuthFromKeychain(c.keychain))
}

// singleAttempt switches off the library's own retries: they ignore Retry-After and
// do not stop when the context is cancelled.
func singleAttempt(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithUserAgent(userAgent),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	}
}

const userAgent = "shipit"

// dialQuickly fails within seconds if a registry cannot be reached. The timeout for an
// answer is long, because a registry checks and moves a whole blob before it answers.
func dialQuickly() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: time.Minute,
	}
}

// session is an authenticated connection to one repository.
type session struct {
	repo    name.Repository
	action  string // "pull" or "push"
	wrapped http.RoundTripper
	client  *http.Client
	secrets []string
	known   bool // credentials were found; otherwise it is anonymous
}

const (
	pull = "pull"
	push = "push"
)

// session authenticates to the registry, or returns an earlier session. A failure is
// not cached.
func (c *Client) session(ctx context.Context, repo name.Repository, action string) (*session, error) {
	key := action + " " + repo.Name()
	c.mu.Lock()
	s := c.sessions[key]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("read the credentials for %s: %s", repo.RegistryStr(), oneLine(err.Error()))
	}
	s, err = c.open(ctx, repo, action, auth)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.sessions[key] = s
	c.mu.Unlock()
	return s, nil
}

func (c *Client) open(ctx context.Context, repo name.Repository, action string, auth authn.Authenticator) (*session, error) {
	s := &session{repo: repo, action: action}
	config, err := authn.Authorization(ctx, auth)
	if err != nil {
		return nil, fmt.Errorf("read the credentials for %s: %s", repo.RegistryStr(), oneLine(err.Error()))
	}
	s.secrets = secretsOf(config)
	s.known = len(s.secrets) > 0
	scope := transport.PullScope
	if action == push {
		scope = transport.PushScope
	}
	over := transport.NewUserAgent(c.transport, userAgent)
	s.wrapped, err = transport.NewWithContext(ctx, repo.Registry, auth, over, []string{repo.Scope(scope)})
	if err != nil {
		return nil, c.explain(ctx, s, repo.Name(), err)
	}
	s.client = &http.Client{Transport: s.wrapped}
	return s, nil
}

// options are for the library's reading functions: the session's transport already
// has the credentials, so the library does not authenticate again.
func (s *session) options(ctx context.Context) []remote.Option {
	return append(singleAttempt(ctx), remote.WithTransport(s.wrapped))
}

// parse reads a reference that names a tag or a digest; nothing is defaulted to
// "latest". Beside a digest a tag is ignored.
func parse(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("reference %q: %s", ref, oneLine(err.Error()))
	}
	return r, nil
}

func parseRepository(repository string) (name.Repository, error) {
	r, err := name.NewRepository(repository, name.StrictValidation)
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %q: %s", repository, oneLine(err.Error()))
	}
	return r, nil
}
