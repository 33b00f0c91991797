package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"
)

// anything answers every request after the handshake in the same way.
type anything struct {
	status      int
	mediaType   string
	digest      string
	retry       string
	body        []byte
	handshake   string
	unsuspected bool // the handshake is answered as it should be
}

func (a anything) RoundTrip(req *http.Request) (*http.Response, error) {
	header := http.Header{}
	res := &http.Response{Request: req, Header: header, StatusCode: a.status, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	header.Set("Content-Type", a.mediaType)
	header.Set("Docker-Content-Digest", a.digest)
	header.Set("Retry-After", a.retry)
	header.Set("Link", a.handshake)
	if strings.HasSuffix(req.URL.Path, "/v2/") {
		res.StatusCode = http.StatusUnauthorized
		header.Set("WWW-Authenticate", a.handshake)
		if a.unsuspected {
			res.StatusCode = http.StatusOK
		}
	}
	if req.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	return res, nil
}

// FuzzAnswers has a registry answer anything. What a reference names by digest is
// that digest or an error; an error is one line.
func FuzzAnswers(f *testing.F) {
	const none = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + none + `","size":2},"layers":[]}`
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + none + `","size":2,"platform":{"os":"linux","architecture":"amd64"}}]}`
	f.Add(200, "application/vnd.oci.image.manifest.v1+json", none, "", []byte(manifest), `Basic realm="x"`, true)
	f.Add(200, "application/vnd.oci.image.index.v1+json", none, "", []byte(index), "", true)
	f.Add(200, "text/html", "", "", []byte("<html>rate limited</html>"), "", true)
	f.Add(429, "application/json", "", "999999999999", []byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"\u001b[2Jslow\ndown"}]}`), "", true)
	f.Add(401, "application/json", "", "Fri, 31 Dec 9999 23:59:59 GMT", []byte(`{"token":"x"}`), `Bearer realm="http://127.0.0.1:1/token",service="x"`, false)
	f.Add(307, "", "md5:1", "-1", []byte(nil), `Bearer realm="::"`, false)
	f.Fuzz(func(t *testing.T, status int, mediaType, digest, retry string, body []byte, handshake string, plain bool) {
		if status < 100 || status > 599 {
			return
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c := newClient(Options{Keychain: authn.NewMultiKeychain(), Transport: anything{status, mediaType, digest, retry, body, handshake, plain}},
			func(context.Context, time.Duration) error { return nil })
		for _, ref := range []string{"registry.test/a/b:tag", "registry.test/a/b@" + none} {
			got, _, err := c.Find(ctx, ref)
			if strings.Contains(ref, "@") && err == nil {
				require.Equal(t, none, got)
			}
			oneLineOf(t, err)
			_, err = c.Platforms(ctx, ref)
			oneLineOf(t, err)
			_, err = exists(c, ctx, ref)
			oneLineOf(t, err)
		}
		require.Less(t, time.Since(began), time.Minute)
	})
}

func oneLineOf(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	require.NotContains(t, err.Error(), "\n")
	require.False(t, errors.Is(err, context.DeadlineExceeded), "it waits for ever: %v", err)
}
