package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

// failing answers the first n requests that match with a status.
func failing(n int, status int, header http.Header, match func(*http.Request) bool) fault {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !match(r) || seen.Add(1) > int64(n) {
			next.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)
	}
}

func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

func TestRetries(t *testing.T) {
	ctx := context.Background()
	first := image(t, 512)
	publish := func(ctx context.Context, s *server, o Options) (*waits, error) {
		c, w := client(o)
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
		return w, err
	}
	after := func(value string) http.Header { return http.Header{"Retry-After": {value}} }

	t.Run("a wait in seconds is kept, and reported", func(t *testing.T) {
		for _, m := range []string{"POST", "PATCH"} {
			var notes []string
			var mu sync.Mutex
			w, err := publish(ctx, serve(t, failing(1, 429, after("7"), method(m))), Options{Progress: func(e release.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Mark == release.MarkNote {
					notes = append(notes, e.Message)
				}
			}})
			require.NoError(t, err)
			require.Equal(t, []time.Duration{7 * time.Second}, w.slept)
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], "429 Too Many Requests (slow down); waiting 7s")
		}
	})
	t.Run("a wait until a date is kept", func(t *testing.T) {
		at := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
		w, err := publish(ctx, serve(t, failing(1, 503, after(at), method("HEAD"))), Options{})
		require.NoError(t, err)
		require.Len(t, w.slept, 1)
		require.LessOrEqual(t, w.slept[0], 30*time.Second)
		require.Greater(t, w.slept[0], 10*time.Second, "the request itself takes a little of it")
	})
	t.Run("a wait that is asked during an upload is kept", func(t *testing.T) {
		for _, m := range []string{"POST", "PATCH", "PUT"} {
			w, err := publish(ctx, serve(t, failing(1, 429, after("9"), method(m))), Options{})
			require.NoError(t, err, m)
			require.Equal(t, []time.Duration{9 * time.Second}, w.slept, m)
		}
	})
	t.Run("every status that passes is tried again, and no other", func(t *testing.T) {
		for status, again := range map[int]bool{429: true, 500: true, 502: true, 503: true, 504: true, 400: false, 405: false} {
			s := serve(t, failing(2, status, nil, func(r *http.Request) bool {
				return r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/")
			}))
			w, err := publish(ctx, s, Options{})
			require.Equal(t, again, err == nil, "%d: %v", status, err)
			require.Equal(t, again, len(w.slept) == 2, "%d: %v", status, w.slept)
		}
	})
	t.Run("a registry that stays busy is given up after 5 tries", func(t *testing.T) {
		for _, m := range []string{"HEAD", "PATCH"} {
			s := serve(t, failing(1000, 503, nil, method(m)))
			_, err := publish(ctx, s, Options{})
			var busy *UnreachableError
			require.ErrorAs(t, err, &busy)
			require.True(t, busy.Temporary)
			require.Contains(t, err.Error(), "503 Service Unavailable")
			require.NotContains(t, err.Error(), "\n")
			counts := map[string]int{}
			for _, line := range s.requests(m) {
				counts[line]++
			}
			for line, n := range counts {
				require.LessOrEqual(t, n, tries, line)
			}
		}
	})
	t.Run("a wait that is too long, or longer than there is time, is not begun", func(t *testing.T) {
		w, err := publish(ctx, serve(t, failing(1, 429, after("3600"), method("HEAD"))), Options{})
		require.ErrorContains(t, err, "asks to come back in 1h0m0s")
		require.Empty(t, w.slept)
		soon, cancel := context.WithTimeout(ctx, 50*time.Second)
		defer cancel()
		w, err = publish(soon, serve(t, failing(1, 429, after("60"), method("HEAD"))), Options{})
		require.ErrorContains(t, err, "no time left")
		require.Empty(t, w.slept)
	})
	t.Run("a real wait ends with the context", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
			cancel()
		})
		start := time.Now()
		_, err := resolve(New(Options{Keychain: anonymous{}}), ended, s.host+"/app:x")
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, time.Since(start), 30*time.Second)
	})
	t.Run("a connection that is cut is made again", func(t *testing.T) {
		var cut atomic.Int64
		s := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == "HEAD" && cut.Add(1) <= 3 {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
		_, err := publish(ctx, s, Options{})
		require.NoError(t, err)
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute,
		"Tue, 24 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Tue, 24 Nov 2026 11:00:00 GMT": 0,
	} {
		got, ok := retryAfter(header, now)
		require.True(t, ok, header)
		require.Equal(t, want, got, header)
	}
	for _, header := range []string{"", "-5", "soon", "1.5"} {
		_, ok := retryAfter(header, now)
		require.False(t, ok, header)
	}
}

// one is an image of one layer of that size, and the layer's bytes.
func one(t *testing.T, size int64) (v1.Image, []byte) {
	t.Helper()
	layer, err := random.Layer(size, types.OCILayer)
	require.NoError(t, err)
	made, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	rc, err := layer.Compressed()
	require.NoError(t, err)
	raw, err := io.ReadAll(rc)
	require.NoError(t, err)
	return made, raw
}

// cutter cuts the connection in the middle of the first n big uploads.
type cutter struct {
	cuts int
	// resumes makes it a registry that keeps what arrived and tells how much.
	resumes bool

	mu      sync.Mutex
	partial map[string][]byte // by the upload's path
	bytes   int64             // of blobs that arrived over the wire
	told    int               // times that it told how far an upload came
}

func (c *cutter) handle(w http.ResponseWriter, r *http.Request, next http.Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.partial[r.URL.Path]
	switch {
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/uploads/"):
		if !c.resumes || kept == nil {
			http.NotFound(w, r)
			return
		}
		c.told++
		w.Header().Set("Location", r.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(kept)-1))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch && r.ContentLength > 100_000 && c.cuts > 0:
		c.cuts--
		half, _ := io.ReadAll(io.LimitReader(r.Body, r.ContentLength/2))
		c.bytes += int64(len(half))
		if c.resumes {
			c.partial[r.URL.Path] = append(kept, half...)
		}
		panic(http.ErrAbortHandler)
	case r.Method == http.MethodPatch:
		rest, _ := io.ReadAll(r.Body)
		c.bytes += int64(len(rest))
		if at := r.Header.Get("Content-Range"); at != "" && !strings.HasPrefix(at, fmt.Sprintf("%d-", len(kept))) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		r.Header.Del("Content-Range")
		r.Body = io.NopCloser(bytes.NewReader(append(kept, rest...)))
		next.ServeHTTP(w, r)
	default:
		next.ServeHTTP(w, r)
	}
}

func TestAnUploadThatIsCutOff(t *testing.T) {
	ctx := context.Background()
	made, raw := one(t, 1<<20)

	t.Run("goes on where the registry says it stands", func(t *testing.T) {
		cut := &cutter{cuts: 2, resumes: true, partial: map[string][]byte{}}
		s := serve(t, cut.handle)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: made, SHA: sha1})
		require.NoError(t, err)
		require.Equal(t, 2, cut.told)
		require.Less(t, cut.bytes, int64(len(raw))+5000, "no byte is sent twice")
	})
	t.Run("starts over where the registry cannot tell", func(t *testing.T) {
		cut := &cutter{cuts: 2}
		s := serve(t, cut.handle)
		c, w := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: made, SHA: sha1})
		require.NoError(t, err)
		require.Len(t, w.slept, 2)
		pulled, err := imageOf(c, ctx, s.host+"/app:"+sha1)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, made), digestOf(t, pulled))
	})
	t.Run("is given up when it is cut every time, and no tag is written", func(t *testing.T) {
		cut := &cutter{cuts: 1000}
		s := serve(t, cut.handle)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: made, SHA: sha1})
		var broken *UnreachableError
		require.ErrorAs(t, err, &broken)
		require.True(t, broken.Temporary)
		require.NotContains(t, strings.Join(s.writes(), "\n"), "/manifests/")
	})
	t.Run("survives a token that runs out in the middle", func(t *testing.T) {
		s := serve(t, nil)
		token := atomic.Int64{}
		var once sync.Once
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Path == "/token" {
				_ = json.NewEncoder(w).Encode(map[string]string{"token": fmt.Sprint("t", token.Load())})
				return
			}
			if r.Method == http.MethodPatch {
				once.Do(func() { token.Add(1) })
			}
			if r.Header.Get("Authorization") != fmt.Sprint("Bearer t", token.Load()) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, s.host))
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: made, SHA: sha1})
		require.NoError(t, err)
		require.Equal(t, int64(1), token.Load())
	})
}

// torn is a layer whose file ends in an error.
type torn struct{ v1.Layer }

func (l torn) Compressed() (io.ReadCloser, error) {
	rc, err := l.Layer.Compressed()
	return io.NopCloser(io.MultiReader(io.LimitReader(rc, 100), brokenDisk{})), err
}

type brokenDisk struct{}

func (brokenDisk) Read([]byte) (int, error) { return 0, fmt.Errorf("input/output error") }

func TestALayerThatCannotBeReadIsNotTriedAgain(t *testing.T) {
	layer, err := random.Layer(5000, types.OCILayer)
	require.NoError(t, err)
	made, err := mutate.AppendLayers(empty.Image, torn{layer})
	require.NoError(t, err)
	s := serve(t, nil)
	c, w := client(Options{})
	_, err = c.Publish(context.Background(), Publication{Repository: s.host + "/app", Artifact: made, SHA: sha1})
	var missing *MissingBlobError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "input/output error")
	require.Empty(t, w.slept)
}

// A run that can do without a registry does not wait for it again and again.
func TestARegistryThatIsAwayIsNotWaitedForAgain(t *testing.T) {
	ctx := context.Background()
	everything := func(*http.Request) bool { return true }
	lookup := func(ctx context.Context, c *Client, s *server) error {
		_, err := c.Artifact(ctx, s.host+"/app:"+sha1)
		return err
	}
	t.Run("after all tries it is asked once", func(t *testing.T) {
		s := serve(t, failing(1000, 500, nil, everything))
		c, w := client(Options{})
		require.ErrorContains(t, lookup(ctx, c, s), "after 5 tries")
		require.Len(t, w.slept, 4)
		s.forget()
		require.Error(t, lookup(ctx, c, s))
		require.Len(t, w.slept, 4)
		require.Len(t, s.requests("GET"), 1)
	})
	t.Run("once it has answered it is asked as before", func(t *testing.T) {
		s := serve(t, failing(1000, 500, nil, everything))
		c, w := client(Options{})
		require.Error(t, lookup(ctx, c, s))
		s.breakBy(nil)
		var missing *NotFoundError
		require.ErrorAs(t, lookup(ctx, c, s), &missing)
		s.breakBy(failing(1000, 500, nil, everything))
		w.slept = nil
		require.Error(t, lookup(ctx, c, s))
		require.Len(t, w.slept, 4)
	})
	t.Run("one that is silent has its short time", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
		c, _ := client(Options{})
		limited, cancel := context.WithTimeout(ctx, 3*time.Second) // so that it is asked, on a busy machine too
		defer cancel()
		require.Error(t, lookup(limited, c, s))
		began := time.Now()
		require.ErrorContains(t, lookup(ctx, c, s), "does not answer")
		require.Less(t, time.Since(began), 5*awayLimit, "which one has that is not known to be silent")
	})
	t.Run("a caller who gives up says nothing of the registry", func(t *testing.T) {
		asked := make(chan struct{})
		s := serve(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			close(asked)
			<-r.Context().Done()
		})
		c, w := client(Options{})
		given, giveUp := context.WithCancel(ctx)
		go func() {
			<-asked
			giveUp()
		}()
		require.Error(t, lookup(given, c, s))
		s.breakBy(failing(1000, 500, nil, everything))
		require.Error(t, lookup(ctx, c, s))
		require.Len(t, w.slept, 4)
	})
}
