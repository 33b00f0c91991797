package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func TestPull(t *testing.T) {
	ctx := context.Background()
	s := serve(t, nil)
	c, _ := client(Options{})
	repository := s.host + "/app"
	publish := func(a Artifact, sha string) string {
		got, err := c.Publish(ctx, Publication{Repository: repository, Artifact: a, SHA: sha})
		require.NoError(t, err)
		return repository + "@" + got.Digest
	}
	index, amd, _ := indexOf(t)
	many := publish(index, sha1)
	layers, err := amd.Layers()
	require.NoError(t, err)

	// drain takes the stream as a reader of tar does: up to the end mark only.
	drain := func(seen *[]v1.Hash) func(int, v1.Hash, io.Reader) error {
		return func(i int, diffID v1.Hash, content io.Reader) error {
			*seen = append(*seen, diffID)
			archive := tar.NewReader(content)
			for {
				if _, err := archive.Next(); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		}
	}
	t.Run("the layers of the named platform come in order", func(t *testing.T) {
		var seen, want []v1.Hash
		require.NoError(t, c.Pull(ctx, many, "linux/amd64", drain(&seen)))
		for _, l := range layers {
			d, err := l.DiffID()
			require.NoError(t, err)
			want = append(want, d)
		}
		require.Equal(t, want, seen)
	})
	t.Run("an index needs a platform that it has", func(t *testing.T) {
		var seen []v1.Hash
		require.ErrorContains(t, c.Pull(ctx, many, "", drain(&seen)), "one must be named")
		require.ErrorContains(t, c.Pull(ctx, many, "darwin/arm64", drain(&seen)), "no image for darwin/arm64")
		require.Empty(t, seen)
	})
	t.Run("an error of the reader is the error", func(t *testing.T) {
		full := errors.New("disk full")
		err := c.Pull(ctx, many, "linux/amd64", func(int, v1.Hash, io.Reader) error { return full })
		require.ErrorIs(t, err, full)
	})
	t.Run("other bytes under the right digest fail before they are seen", func(t *testing.T) {
		digest, err := layers[0].Digest()
		require.NoError(t, err)
		size, err := layers[0].Size()
		require.NoError(t, err)
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest.String()) {
				w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, int(size)))
				return
			}
			next.ServeHTTP(w, r)
		})
		defer s.breakBy(nil)
		var seen []v1.Hash
		err = c.Pull(ctx, many, "linux/amd64", drain(&seen))
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt)
		require.Empty(t, seen)
	})
	t.Run("a layer that does not unpack to its diffID fails", func(t *testing.T) {
		liar, err := mutate.AppendLayers(empty.Image, lying{layers[0]})
		require.NoError(t, err)
		ref := publish(liar, sha2)
		var corrupt *CorruptError
		var seen []v1.Hash
		require.ErrorAs(t, c.Pull(ctx, ref, "", drain(&seen)), &corrupt)
		require.Contains(t, corrupt.Detail, "diffID")
	})
	t.Run("a download that is cut off is made again", func(t *testing.T) {
		digest, err := layers[1].Digest()
		require.NoError(t, err)
		var cuts atomic.Int64
		s.breakBy(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest.String()) && cuts.Add(1) <= 2 {
				w.Header().Set("Content-Length", "400")
				next.ServeHTTP(&shortened{ResponseWriter: w}, r)
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
		defer s.breakBy(nil)
		var seen []v1.Hash
		require.NoError(t, c.Pull(ctx, many, "linux/amd64", drain(&seen)))
		require.Equal(t, int64(3), cuts.Load())
	})
	t.Run("zstd and uncompressed layers are read too", func(t *testing.T) {
		var content bytes.Buffer
		archive := tar.NewWriter(&content)
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: "a", Mode: 0o644}))
		require.NoError(t, archive.Close())
		content.Write(make([]byte, 8192)) // the padding that some writers of tar leave, and the diffID covers
		coder, err := zstd.NewWriter(nil)
		require.NoError(t, err)
		sum := sha256.Sum256(content.Bytes())
		diffID := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
		for sha, raw := range map[string][]byte{
			strings.Repeat("3", 40): coder.EncodeAll(content.Bytes(), nil),
			strings.Repeat("4", 40): content.Bytes(),
		} {
			layer := packed{static.NewLayer(raw, types.OCILayerZStd), diffID}
			made, err := mutate.AppendLayers(empty.Image, layer)
			require.NoError(t, err)
			var seen []v1.Hash
			require.NoError(t, c.Pull(ctx, publish(made, sha), "", drain(&seen)))
			require.Equal(t, []v1.Hash{diffID}, seen)
		}
	})
}

type packed struct {
	v1.Layer
	diffID v1.Hash
}

func (p packed) DiffID() (v1.Hash, error) { return p.diffID, nil }

type lying struct{ v1.Layer }

func (lying) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, nil
}

// shortened lets a hundred bytes through.
type shortened struct {
	http.ResponseWriter
	sent int
}

func (s *shortened) Write(p []byte) (int, error) {
	if left := 100 - s.sent; left < len(p) {
		p = p[:max(0, left)]
	}
	s.sent += len(p)
	_, err := s.ResponseWriter.Write(p)
	s.ResponseWriter.(http.Flusher).Flush()
	return len(p), err
}
