package attest_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
)

// A registry without the referrers API lists attachments in one index under
// a tag, which every writer reads, extends and puts. Here another writer, who has
// read before us, puts after us.
func TestAnAttachmentThatAnotherWriterOverwroteIsAttachedAgain(t *testing.T) {
	f := &forger{honest: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s := shopOf(t, f)
	n := s.signer(t, "ours", ours())
	ref := s.push(t, "image")
	_, _, err := n.Attest(t.Context(), ref, attest.SBOMType, map[string]string{"by": "the other writer"})
	require.NoError(t, err)
	tag := "/manifests/" + strings.Replace(digestOf(t, ref), ":", "-", 1)

	overwrites := 0
	f.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, tag) || overwrites == 2 {
			return false
		}
		overwrites++
		before := httptest.NewRecorder()
		f.honest.ServeHTTP(before, httptest.NewRequest(http.MethodGet, r.URL.Path, nil))
		f.honest.ServeHTTP(w, r)
		again := httptest.NewRequest(http.MethodPut, r.URL.Path, bytes.NewReader(before.Body.Bytes()))
		again.Header.Set("Content-Type", before.Header().Get("Content-Type"))
		f.honest.ServeHTTP(httptest.NewRecorder(), again)
		return true
	})
	_, done, err := n.Sign(t.Context(), ref)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, 2, overwrites)
	signed, err := s.signer(t, "ours", ours()).Signed(t.Context(), ref)
	require.NoError(t, err)
	require.True(t, signed)
}
