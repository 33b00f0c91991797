package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

func TestPublish(t *testing.T) {
	ctx := context.Background()
	first := image(t, 1024)

	t.Run("an absent tag is written, the SHA first, after blobs and manifests", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		index, _, _ := indexOf(t)
		got, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: index, SHA: sha1, Tags: []string{"1.2.3", "inputs-abc"}})
		require.NoError(t, err)
		require.Equal(t, Published{Digest: digestOf(t, index), Pushed: true, Tagged: []string{sha1, "1.2.3", "inputs-abc"}}, got)
		var manifests []string
		for _, line := range s.writes() {
			if name, ok := strings.CutPrefix(line, "PUT /v2/app/manifests/"); ok {
				manifests = append(manifests, name)
			} else {
				require.Empty(t, manifests, "a blob went after a manifest: %s", line)
			}
		}
		require.Len(t, manifests, 7)
		require.Equal(t, []string{digestOf(t, index), sha1, "1.2.3", "inputs-abc"}, manifests[3:])
	})
	t.Run("the same image again writes nothing", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		p := Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1}
		_, err := c.Publish(ctx, p)
		require.NoError(t, err)
		s.forget()
		got, err := c.Publish(ctx, p)
		require.NoError(t, err)
		require.Equal(t, Published{Digest: digestOf(t, first)}, got)
		require.Empty(t, s.writes())
	})
	t.Run("a second commit with the same image moves no bytes", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
		require.NoError(t, err)
		s.forget()
		got, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha2})
		require.NoError(t, err)
		require.Equal(t, Published{Digest: digestOf(t, first), Tagged: []string{sha2}}, got)
		require.Equal(t, []string{"PUT /v2/app/manifests/" + sha2}, s.writes())
	})
	t.Run("a tag that names another image is refused, and nothing is written", func(t *testing.T) {
		for _, taken := range []string{sha1, "1.2.3"} {
			s := serve(t, nil)
			c, _ := client(Options{})
			s.put(t, "app", taken, empty.Image)
			_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1, Tags: []string{"1.2.3"}})
			var refused *TagTakenError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, TagTakenError{Ref: s.host + "/app:" + taken, Wanted: digestOf(t, first), Found: digestOf(t, empty.Image)}, *refused)
			require.Empty(t, s.writes())
		}
	})
	t.Run("a tag that someone wrote during the upload is not overwritten", func(t *testing.T) {
		s := serve(t, nil)
		var once sync.Once
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPatch {
				once.Do(func() { s.put(t, "app", sha1, empty.Image) })
			}
			next.ServeHTTP(w, r)
		})
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
		var refused *TagTakenError
		require.ErrorAs(t, err, &refused)
		found, err := resolve(c, ctx, s.host+"/app:"+sha1)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, empty.Image), found)
	})
	t.Run("a tag that someone moves between HEAD and PUT is noticed, and no further tag is written", func(t *testing.T) {
		s := serve(t, nil)
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/"+sha1) {
				s.put(t, "app", sha1, empty.Image)
			}
		})
		c, _ := client(Options{})
		got, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1, Tags: []string{"1.2.3"}})
		var moved *TagMovedError
		require.ErrorAs(t, err, &moved)
		require.Equal(t, digestOf(t, empty.Image), moved.Found)
		require.Empty(t, got.Tagged)
		there, err := exists(c, ctx, s.host+"/app:1.2.3")
		require.NoError(t, err)
		require.False(t, there)
	})
	t.Run("a tag that vanishes after PUT is an error too", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/manifests/"+sha1) {
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
		var moved *TagMovedError
		require.ErrorAs(t, err, &moved)
		require.Empty(t, moved.Found)
	})
	t.Run("many that publish one image at once all succeed", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		errs := make([]error, 8)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() {
				_, errs[i] = c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1, Tags: []string{"1.2.3"}})
			})
		}
		group.Wait()
		require.NoError(t, errors.Join(errs...))
	})
	t.Run("a first push passes a registry that hides what does not exist", func(t *testing.T) {
		var pushed bool
		var mu sync.Mutex
		s := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			mu.Lock()
			pushed = pushed || (r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"))
			hide := !pushed && strings.Contains(r.URL.Path, "/manifests/")
			mu.Unlock()
			if hide {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"denied"}]}`, http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
		c, _ := client(Options{Keychain: login{"user", "hunter2"}})
		got, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
		require.NoError(t, err)
		require.Equal(t, []string{sha1}, got.Tagged)
	})
	t.Run("a repository or a tag that is none is told before anything is asked", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/App", Artifact: first, SHA: sha1})
		require.ErrorContains(t, err, "repository")
		_, err = c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: "1.0+build"})
		require.ErrorContains(t, err, `tag "1.0+build"`)
		require.Empty(t, s.requests("GET", "HEAD"))
	})
}

func TestTag(t *testing.T) {
	ctx := context.Background()
	s := serve(t, nil)
	c, _ := client(Options{})
	first := image(t, 512)
	_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: first, SHA: sha1})
	require.NoError(t, err)
	s.put(t, "app", "taken", empty.Image)
	s.forget()

	t.Run("it names a manifest that is there, and moves no blob", func(t *testing.T) {
		tagged, err := c.Tag(ctx, s.host+"/app", digestOf(t, first), sha1, sha2, "1.0.0")
		require.NoError(t, err)
		require.Equal(t, []string{sha2, "1.0.0"}, tagged)
		require.Equal(t, []string{"PUT /v2/app/manifests/" + sha2, "PUT /v2/app/manifests/1.0.0"}, s.writes())
		found, err := resolve(c, ctx, s.host+"/app:"+sha2)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, first), found)
	})
	t.Run("it does not move a tag", func(t *testing.T) {
		_, err := c.Tag(ctx, s.host+"/app", digestOf(t, first), "new", "taken")
		var refused *TagTakenError
		require.ErrorAs(t, err, &refused)
		there, err := exists(c, ctx, s.host+"/app:new")
		require.NoError(t, err)
		require.False(t, there)
	})
	t.Run("an absent digest is not found", func(t *testing.T) {
		_, err := c.Tag(ctx, s.host+"/app", digestOf(t, image(t, 8)), "new")
		var none *NotFoundError
		require.ErrorAs(t, err, &none)
	})
}

// known is a layer of which only the descriptor is here.
type known struct{ v1.Layer }

func (known) Compressed() (io.ReadCloser, error) { return nil, errors.New("it is not in the cache") }

func TestBlobs(t *testing.T) {
	ctx := context.Background()
	full := image(t, 2048)
	layers, err := full.Layers()
	require.NoError(t, err)
	thin, err := mutate.AppendLayers(empty.Image, known{layers[0]}, layers[1])
	require.NoError(t, err)

	t.Run("a layer that the registry has need not be here", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: full, SHA: sha1})
		require.NoError(t, err)
		got, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: thin, SHA: sha2})
		require.NoError(t, err)
		require.True(t, got.Pushed)
	})
	t.Run("a layer that is neither there nor here is named, and no tag is written", func(t *testing.T) {
		s := serve(t, nil)
		c, w := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: thin, SHA: sha1})
		var missing *MissingBlobError
		require.ErrorAs(t, err, &missing)
		want, err := layers[0].Digest()
		require.NoError(t, err)
		require.Equal(t, want.String(), missing.Digest)
		require.EqualError(t, missing.Cause, "it is not in the cache")
		require.Empty(t, w.slept)
		require.NotContains(t, strings.Join(s.writes(), "\n"), "/manifests/")
	})
	t.Run("a blob of another size under its digest is refused", func(t *testing.T) {
		short, err := layers[0].Digest()
		require.NoError(t, err)
		s := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/blobs/"+short.String()) {
				w.Header().Set("Content-Length", "17")
				return
			}
			next.ServeHTTP(w, r)
		})
		c, _ := client(Options{})
		_, err = c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: full, SHA: sha1})
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt)
		require.Contains(t, corrupt.Detail, "17 bytes")
	})
	t.Run("a base layer of the same registry is mounted, not sent", func(t *testing.T) {
		s := serve(t, nil)
		c, _ := client(Options{})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/base", Artifact: full, SHA: sha1})
		require.NoError(t, err)
		base, err := imageOf(c, ctx, s.host+"/base:"+sha1)
		require.NoError(t, err)
		config, err := base.ConfigFile()
		require.NoError(t, err)
		config = config.DeepCopy()
		config.Author = "someone else"
		child, err := mutate.ConfigFile(base, config)
		require.NoError(t, err)
		mounts := 0
		s.forget()
		// The library's registry has one store for all repositories, real ones do not.
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			switch {
			case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"):
				http.NotFound(w, r)
			case r.URL.Query().Get("mount") != "":
				mounts++
				w.WriteHeader(http.StatusCreated)
			default:
				next.ServeHTTP(w, r)
			}
		})
		one, _ := client(Options{})
		_, err = one.Publish(ctx, Publication{Repository: s.host + "/child", Artifact: child, SHA: sha1})
		require.NoError(t, err)
		require.Equal(t, 2, mounts)
		require.Len(t, s.requests("PATCH"), 1, "the config alone is sent")
	})
	t.Run("progress tells the bytes, and ends with all of them", func(t *testing.T) {
		s := serve(t, nil)
		var mu sync.Mutex
		var last release.Event
		c, _ := client(Options{Progress: func(e release.Event) {
			mu.Lock()
			defer mu.Unlock()
			last = e
		}})
		_, err := c.Publish(ctx, Publication{Repository: s.host + "/app", Artifact: image(t, 1_000_000), SHA: sha1})
		require.NoError(t, err)
		require.Equal(t, release.PhasePush, last.Phase)
		require.Equal(t, "2.0 of 2.0 MB", last.Message)
	})
}
