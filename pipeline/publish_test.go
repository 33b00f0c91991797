package pipeline

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	imageregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/registry"
	"github.com/joelhooks/shipit/release"
)

// shop is a registry in this process, and what publishes into it.
type shop struct {
	host   string
	before func(http.ResponseWriter, *http.Request) bool // handles a request itself if true
	built  int                                           // builds that were made
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{}
	images := imageregistry.New(imageregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.before == nil || !s.before(w, r) {
			images.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

func (s *shop) image() config.Image {
	img := workerImage()
	img.Repository = s.host + "/worker"
	return img
}

// publisher has caches of its own, as another machine has. keys is a folder with
// a key pair; "" signs nothing.
func (s *shop) publisher(t *testing.T, keys string) Publisher {
	t.Helper()
	client := registry.New(registry.Options{})
	p := Publisher{Registry: client, Options: testOptions(t)}
	p.Options.Progress = func(e release.Event) {
		if e.Phase == release.PhaseBuild && e.Mark == release.MarkStart && strings.HasPrefix(e.Message, "build ") {
			s.built++
		}
	}
	signing := config.Signing{Mode: "none"}
	if keys != "" {
		signing = config.Signing{Mode: "key", Key: "cosign.key"}
	}
	p.Signer = attest.New(signing, attest.Options{RemoteOptions: client.RemoteOptions(t.Context()), Dir: keys})
	return p
}

func keyPair(t *testing.T) string {
	t.Helper()
	t.Setenv("COSIGN_PASSWORD", "secret")
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cosign.key"), pair.PrivateBytes, 0o600))
	return dir
}

// push puts an image under a tag, as anybody with write access can.
func (s *shop) push(t *testing.T, img v1.Image, tag string) string {
	t.Helper()
	ref, err := name.NewTag(s.host + "/worker:" + tag)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return digestOf(t, img.Digest)
}

func digestOf(t *testing.T, digest func() (v1.Hash, error)) string {
	t.Helper()
	d, err := digest()
	require.NoError(t, err)
	return d.String()
}

// tagged is the digest that a tag names; "" if there is no such tag.
func (s *shop) tagged(t *testing.T, tag string) string {
	t.Helper()
	ref, err := name.NewTag(s.host + "/worker:" + tag)
	require.NoError(t, err)
	d, err := remote.Head(ref)
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

func TestAnImageIsNotTrustedForTheTagThatNamesIt(t *testing.T) {
	for _, mode := range []string{"signed", "unsigned"} {
		t.Run(mode+": a foreign image under the tag of the inputs is refused, and not signed", func(t *testing.T) {
			s, keys := newShop(t), ""
			if mode == "signed" {
				keys = keyPair(t)
			}
			in := resolve(t, sample.New(t, sample.Options{}).Dir, s.image())
			forged, err := random.Image(100, 1)
			require.NoError(t, err)
			digest := s.push(t, forged, inputsTag(in.Key))
			p := s.publisher(t, keys)
			for name, do := range map[string]func(context.Context, Inputs) (Image, error){"publish": p.Publish, "find": p.FindOrBuild} {
				_, err = do(t.Context(), in)
				f := refused(t, err)
				require.Equal(t, release.CodeImageForeign, f.Code, name)
				require.Contains(t, f.Message, release.ShortDigest(digest))
				require.True(t, f.Fixed, "nobody can allow it")
			}
			require.Empty(t, s.tagged(t, in.Source.SHA))
			if keys != "" {
				signed, err := p.Signer.Signed(t.Context(), s.host+"/worker@"+digest)
				require.NoError(t, err)
				require.False(t, signed)
			}
		})
	}
	t.Run("signed: an image of ours that was made of other inputs is refused", func(t *testing.T) {
		s, keys := newShop(t), keyPair(t)
		r := sample.New(t, sample.Options{})
		old, err := s.publisher(t, keys).Publish(t.Context(), resolve(t, r.Dir, s.image()))
		require.NoError(t, err)
		r.Commit("two", map[string]string{worker + "/src/serve.ts": "export {};\n"})
		in := resolve(t, r.Dir, s.image())
		ref, err := name.NewDigest(old.Reference)
		require.NoError(t, err)
		img, err := remote.Image(ref)
		require.NoError(t, err)
		s.push(t, img, inputsTag(in.Key))
		_, err = s.publisher(t, keys).Publish(t.Context(), in)
		require.Equal(t, release.CodeImageForeign, refused(t, err).Code)
	})
}

func TestAnImageThatIsKnownIsNotBuiltAgain(t *testing.T) {
	r := sample.New(t, sample.Options{})
	t.Run("signed: by provenance of our signer for that very key", func(t *testing.T) {
		s, keys := newShop(t), keyPair(t)
		in := resolve(t, r.Dir, s.image())
		first, err := s.publisher(t, keys).Publish(t.Context(), in)
		require.NoError(t, err)
		require.True(t, first.Built)
		again, err := s.publisher(t, keys).Publish(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, first.Digest, again.Digest)
		require.False(t, again.Built)
		require.Equal(t, 1, s.built)
		other := s.publisher(t, keyPair(t))
		_, err = other.Publish(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, 2, s.built, "another signer builds for itself, and compares")
		signed, err := other.Signer.Signed(t.Context(), first.Reference)
		require.NoError(t, err)
		require.True(t, signed)
	})
	t.Run("unsigned: by the ledger's record of key and digest", func(t *testing.T) {
		s := newShop(t)
		in := resolve(t, r.Dir, s.image())
		first, err := s.publisher(t, "").Publish(t.Context(), in)
		require.NoError(t, err)
		p := s.publisher(t, "")
		p.Recorded = func(_ context.Context, key, digest string) bool { return key == in.Key && digest == first.Digest }
		again, err := p.Publish(t.Context(), in)
		require.NoError(t, err)
		require.False(t, again.Built)
		require.Equal(t, 1, s.built)
		p.Recorded = func(context.Context, string, string) bool { return false }
		again, err = p.Publish(t.Context(), in)
		require.NoError(t, err, "an equal build is as good")
		require.False(t, again.Built, "the registry knew it")
		require.Equal(t, 2, s.built)
	})
}

func TestNothingIsBuiltOrWrittenUntilTheCommitIsCleared(t *testing.T) {
	r, keys := sample.New(t, sample.Options{}), keyPair(t)
	s := newShop(t)
	in := resolve(t, r.Dir, s.image())
	refused := errors.New("a forbidden reference")
	p := s.publisher(t, keys)
	var written []string
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			written = append(written, r.Method+" "+r.URL.Path)
		}
		return false
	}
	p.Cleared = func(context.Context) error { return refused }
	_, err := p.Publish(t.Context(), in)
	require.ErrorIs(t, err, refused)
	require.Zero(t, s.built)
	require.Empty(t, written)

	p.Cleared = func(context.Context) error { return nil }
	_, err = p.Publish(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, 1, s.built)

	// Another commit with the same image would only write its tag.
	written, in.Source.SHA = nil, strings.Repeat("a", 40)
	p.Cleared = func(context.Context) error { return refused }
	_, err = p.Publish(t.Context(), in)
	require.ErrorIs(t, err, refused)
	require.Empty(t, written)
}

// The image differs from build to build: what a killed run has pushed must be
// found, because it can't be made again.
func TestAPublishThatWasKilledIsFinishedByTheNext(t *testing.T) {
	r := sample.New(t, sample.Options{})
	s, keys := newShop(t), keyPair(t)
	img := s.image()
	img.Run = [][]string{{"sh", "-c", "head -c 16 /dev/urandom | od -x > packages/system-bus/random"}}
	in := resolve(t, r.Dir, img)
	puts := 0
	var tags []string
	for killed := 0; ; killed++ {
		puts = 0
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			if puts++; puts > killed {
				http.Error(w, "killed", http.StatusForbidden)
				return true
			}
			if tag := filepath.Base(r.URL.Path); !strings.HasPrefix(tag, "sha256") {
				tags = append(tags, tag)
			}
			return false
		}
		if _, err := s.publisher(t, keys).Publish(t.Context(), in); err == nil {
			break
		}
		require.Less(t, killed, 20)
	}
	require.Equal(t, s.tagged(t, in.Source.SHA), s.tagged(t, inputsTag(in.Key)))
	require.NotEmpty(t, s.tagged(t, in.Source.SHA))
	require.Len(t, tags, 2, "each tag was written one time: %v", tags)
	signed, err := s.publisher(t, keys).Signer.Signed(t.Context(), s.host+"/worker@"+s.tagged(t, in.Source.SHA))
	require.NoError(t, err)
	require.True(t, signed, "a tag names what is signed")
}
