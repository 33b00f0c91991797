package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/faults"
)

// published is an image behind a proxy, and its reference there.
func published(t *testing.T) (p *faults.Proxy, ref string) {
	t.Helper()
	s := serve(t, nil)
	c, _ := client(Options{})
	made := image(t, 256)
	_, err := c.Publish(context.Background(), Publication{Repository: s.host + "/app/worker", Artifact: made, SHA: sha1})
	require.NoError(t, err)
	p = faults.New(t, "http://"+s.host, nil)
	return p, strings.TrimPrefix(p.URL, "http://") + "/app/worker@" + digestOf(t, made)
}

func TestAnAnswerThatIsCutOffIsAskedForAgain(t *testing.T) {
	p, ref := published(t)
	p.Have(&faults.Rule{Fault: faults.Cut, Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/app/") }, Every: 2})
	c, _ := client(Options{})
	for range 3 {
		_, _, err := c.Find(t.Context(), ref)
		require.NoError(t, err)
	}
	require.Positive(t, p.Faults())
}

func TestAnAnswerThatStallsIsGivenUp(t *testing.T) {
	p, ref := published(t)
	p.Have(&faults.Rule{Fault: faults.Trickle, Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/app/") && r.Method == http.MethodGet }})
	c, _ := client(Options{Transport: steady{http.DefaultTransport, 300 * time.Millisecond}})
	began := time.Now()
	_, _, err := c.Find(t.Context(), ref)
	var unreachable *UnreachableError
	require.ErrorAs(t, err, &unreachable)
	require.ErrorContains(t, err, "stalled")
	require.Less(t, time.Since(began), time.Minute)
}
