package registry

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	oci "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

const (
	sha1 = "1111111111111111111111111111111111111111"
	sha2 = "2222222222222222222222222222222222222222"
)

// fault stands before the registry; it may answer, change, or pass on.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// server is go-containerregistry's registry on loopback, with a fault in front.
type server struct {
	host string
	real http.Handler

	mu    sync.Mutex
	fault fault
	log   []string // METHOD path, in order
}

func serve(t *testing.T, f fault) *server {
	t.Helper()
	s := &server{fault: f, real: oci.New(oci.Logger(log.New(io.Discard, "", 0)))}
	web := httptest.NewUnstartedServer(s)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.Start()
	t.Cleanup(web.Close)
	s.host = web.Listener.Addr().String()
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := s.fault
	s.log = append(s.log, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if f == nil {
		s.real.ServeHTTP(w, r)
		return
	}
	f(w, r, s.real)
}

func (s *server) breakBy(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// requests lists what was asked with one of the methods, since the last call of forget.
func (s *server) requests(methods ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, line := range s.log {
		for _, m := range methods {
			if strings.HasPrefix(line, m+" ") {
				found = append(found, line)
			}
		}
	}
	return found
}

func (s *server) writes() []string { return s.requests("POST", "PUT", "PATCH", "DELETE") }

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// put writes a manifest past the client, as someone else would.
func (s *server) put(t *testing.T, repository, reference string, a Artifact) {
	t.Helper()
	raw, err := a.RawManifest()
	require.NoError(t, err)
	media, err := a.MediaType()
	require.NoError(t, err)
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+reference, bytes.NewReader(raw))
	req.Header.Set("Content-Type", string(media))
	answer := httptest.NewRecorder()
	s.real.ServeHTTP(answer, req)
	require.Equal(t, http.StatusCreated, answer.Code, answer.Body.String())
}

// waits records what a client would have slept.
type waits struct {
	mu    sync.Mutex
	slept []time.Duration
}

func (w *waits) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slept = append(w.slept, d)
	return ctx.Err()
}

// client has no credentials and does not sleep.
func client(o Options) (*Client, *waits) {
	if o.Keychain == nil {
		o.Keychain = anonymous{}
	}
	w := &waits{}
	return newClient(o, w.sleep), w
}

// detour sends requests for a name that is not ours to the test's server.
func detour(s *server) http.RoundTripper {
	to := &url.URL{Scheme: "http", Host: s.host}
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		inner := r.Clone(r.Context())
		inner.URL.Scheme, inner.URL.Host = to.Scheme, to.Host
		resp, err := http.DefaultTransport.RoundTrip(inner)
		if resp != nil {
			resp.Request = r
		}
		return resp, err
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func image(t *testing.T, size int64) v1.Image {
	t.Helper()
	made, err := random.Image(size, 2)
	require.NoError(t, err)
	return made
}

func digestOf(t *testing.T, a Artifact) string {
	t.Helper()
	d, err := a.Digest()
	require.NoError(t, err)
	return d.String()
}

// indexOf is an index of two platforms and an attestation.
func indexOf(t *testing.T) (index v1.ImageIndex, amd, arm v1.Image) {
	t.Helper()
	make := func(arch string) v1.Image {
		base := image(t, 256)
		config, err := base.ConfigFile()
		require.NoError(t, err)
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", arch
		made, err := mutate.ConfigFile(base, config)
		require.NoError(t, err)
		return made
	}
	amd, arm = make("amd64"), make("arm64")
	add := func(i v1.Image, os, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}}
	}
	index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		add(amd, "linux", "amd64"), add(arm, "linux", "arm64"), add(image(t, 64), "unknown", "unknown"))
	return index, amd, arm
}

func TestReading(t *testing.T) {
	ctx := context.Background()
	s := serve(t, nil)
	c, _ := client(Options{})
	repository := s.host + "/app/worker"
	index, amd, arm := indexOf(t)
	_, err := c.Publish(ctx, Publication{Repository: repository, Artifact: index, SHA: sha1})
	require.NoError(t, err)
	single := image(t, 256)
	_, err = c.Publish(ctx, Publication{Repository: repository, Artifact: single, SHA: sha2})
	require.NoError(t, err)

	t.Run("a tag resolves to its digest", func(t *testing.T) {
		got, err := resolve(c, ctx, repository+":"+sha1)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, index), got)
	})
	t.Run("a reference without tag and digest is an error, not latest", func(t *testing.T) {
		_, err := resolve(c, ctx, repository)
		require.ErrorContains(t, err, "reference")
	})
	t.Run("what is absent is told apart from what fails", func(t *testing.T) {
		there, err := exists(c, ctx, repository+":absent")
		require.NoError(t, err)
		require.False(t, there)
		there, err = exists(c, ctx, repository+":"+sha1)
		require.NoError(t, err)
		require.True(t, there)
		_, err = headOf(c, ctx, repository+":absent")
		var none *NotFoundError
		require.ErrorAs(t, err, &none)
		require.Equal(t, repository+":absent", none.Ref)
	})
	t.Run("an index has the digests and platforms of its images, without attestations", func(t *testing.T) {
		_, got, err := c.Find(ctx, repository+"@"+digestOf(t, index))
		require.NoError(t, err)
		var want []string
		for _, i := range []v1.Image{amd, arm} {
			config, err := i.ConfigName()
			require.NoError(t, err)
			want = append(want, digestOf(t, i), config.String())
		}
		require.Equal(t, want, got)
		platforms, err := c.Platforms(ctx, repository+":"+sha1)
		require.NoError(t, err)
		require.Equal(t, []string{"linux/amd64", "linux/arm64"}, platforms)
	})
	t.Run("an image has its config's digest and platform", func(t *testing.T) {
		config, err := single.ConfigName()
		require.NoError(t, err)
		_, got, err := c.Find(ctx, repository+":"+sha2)
		require.NoError(t, err)
		require.Equal(t, []string{config.String()}, got)
		here, err := digestsBelow(single)
		require.NoError(t, err)
		require.Equal(t, got, here)
		_, err = imageOf(c, ctx, repository+":"+sha2)
		require.NoError(t, err)
	})
	t.Run("a handshake serves a repository many times", func(t *testing.T) {
		s.forget()
		for range 3 {
			_, err := resolve(c, ctx, repository+":"+sha1)
			require.NoError(t, err)
		}
		require.Empty(t, s.requests("GET"))
		require.Len(t, s.requests("HEAD"), 3)
	})
	t.Run("a manifest with other bytes than its digest is refused", func(t *testing.T) {
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasSuffix(r.URL.Path, "/manifests/"+digestOf(t, index)) {
				r.URL.Path = strings.Replace(r.URL.Path, digestOf(t, index), digestOf(t, single), 1)
			}
			next.ServeHTTP(w, r)
		})
		defer s.breakBy(nil)
		_, err := c.Artifact(ctx, repository+"@"+digestOf(t, index))
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt)
	})
}

func TestReachingARegistry(t *testing.T) {
	ctx := context.Background()
	t.Run("one that is not there fails at once, in one line, with a hint", func(t *testing.T) {
		const host = "127.0.0.1:1" // nobody is given this port by chance
		c, w := client(Options{})
		_, err := resolve(c, ctx, host+"/app:x")
		var gone *UnreachableError
		require.ErrorAs(t, err, &gone)
		require.False(t, gone.Temporary)
		require.Equal(t, "registry "+host+" does not answer: connect: connection refused", err.Error())
		require.Contains(t, gone.Hint(), host)
		require.Empty(t, w.slept)
	})
	t.Run("one that accepts connections and sends nothing is given up", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		c, _ := client(Options{})
		c.transport.(*retrier).inner = pingLimit{http.DefaultTransport, 50 * time.Millisecond}
		_, err = resolve(c, ctx, l.Addr().String()+"/app:x")
		require.ErrorContains(t, err, "sends nothing")
	})
	t.Run("one without TLS on another machine is refused and never sent a request", func(t *testing.T) {
		s := serve(t, nil)
		dial := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.host)
		}}
		for _, host := range []string{"registry.example", "10.1.2.3:5000"} {
			c, _ := client(Options{Transport: dial, Keychain: login{"user", "hunter2"}})
			_, err := resolve(c, ctx, host+"/app:x")
			var plain *PlainHTTPError
			require.ErrorAs(t, err, &plain, host)
			require.Equal(t, host, plain.Host)
			require.Contains(t, plain.Hint(), "localhost")
		}
		require.Empty(t, s.requests("GET", "HEAD"))
	})
	t.Run("a cancelled context ends it, and is the error", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := resolve(c, ended, s.host+"/app:x")
		require.ErrorIs(t, err, context.Canceled)
	})
}

type login struct{ user, password string }

func (s login) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: s.user, Password: s.password}, nil
}
