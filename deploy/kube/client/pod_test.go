package client

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

func TestAPodThatPointsElsewhereGetsNoCredentials(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	c, err := connect(&rest.Config{Host: server.URL, BearerToken: "secret"})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://web:80/", http.NoBody)
	require.NoError(t, err)
	answer, err := c.AskPod(t.Context(), "any", "web", req)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusTemporaryRedirect, answer.StatusCode)
	require.Zero(t, asked)
}

func TestAPodIsGivenTheHostThatARequestNames(t *testing.T) {
	var host string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer server.Close()
	c, err := connect(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	for _, named := range []string{"", "worker.bus.svc:80"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://127.0.0.1:3111/api/inngest", http.NoBody)
		require.NoError(t, err)
		want := server.Listener.Addr().String()
		if named != "" {
			req.Host, want = named, named
		}
		answer, err := c.AskPod(t.Context(), "any", "web", req)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, want, host)
	}
}
