package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/joelhooks/shipit/internal/faults"
)

func TestARequestThatIsNotAnsweredEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ConfigMapList","apiVersion":"v1","items":[]}`))
	}))
	t.Cleanup(server.Close)
	for _, f := range []faults.Fault{faults.Silence, faults.Trickle} {
		t.Run(string(f), func(t *testing.T) {
			p := faults.New(t, server.URL, nil)
			p.Have(&faults.Rule{Fault: f})
			c, err := connect(&rest.Config{Host: p.URL, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
				return limited{next, 300 * time.Millisecond}
			}})
			require.NoError(t, err)
			began := time.Now()
			_, err = c.List(t.Context(), ConfigMaps, "any", "")
			var unreachable *UnreachableError
			require.ErrorAs(t, err, &unreachable)
			require.ErrorContains(t, err, "does not answer within")
			require.Less(t, time.Since(began), 10*time.Second)
		})
	}
}

func TestWhatStandsBeforeAnAPIServerIsNotTakenForIt(t *testing.T) {
	fails := 4
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if fails--; fails >= 0 {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html>nginx</html>"))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ConfigMapList","apiVersion":"v1","items":[]}`))
	}))
	t.Cleanup(server.Close)
	c, err := connect(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	err = c.Ping(t.Context())
	require.ErrorContains(t, err, "is not reachable: it answers 502 Bad Gateway")
	_, err = c.List(t.Context(), ConfigMaps, "any", "")
	require.NoError(t, err, "a read is repeated")
}

// What is told is why the API server could not be asked, and not which of the tries the
// time ended.
func TestATryThatTheTimeEndsDoesNotHideWhyTheOnesBeforeFailed(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(server.Close)
	c, err := connect(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = c.List(ctx, ConfigMaps, "any", "")
	require.ErrorContains(t, err, "it answers 502 Bad Gateway")
	require.NotContains(t, err.Error(), "deadline")
}
