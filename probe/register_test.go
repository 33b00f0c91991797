package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// announcing is a worker that announces the address that a request names as its Host,
// unless it has one of its own, and the server that it registers with, as a request.
func announcing(t *testing.T, own string) (config.Role, probe.Asker, *config.Request) {
	t.Helper()
	var mu sync.Mutex
	registered := ""
	role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodPut {
			fmt.Fprint(w, `{"functions":["a","b"],"count":2}`)
			return
		}
		host := r.Host
		if own != "" {
			host = own
		}
		registered = "http://" + host + r.URL.Path
		fmt.Fprint(w, `{"message":"Successfully registered","modified":true}`)
	})
	role.Probe = &config.Probe{Path: "/"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"url": registered, "functions": 2})
	}))
	t.Cleanup(server.Close)
	return role, ask, &config.Request{URL: server.URL, Expect: []string{`json.url != ""`}}
}

func TestTheAddressThatIsRegistered(t *testing.T) {
	t.Run("is where the server reaches the worker, not where shipit does", func(t *testing.T) {
		role, ask, server := announcing(t, "")
		role.Register = &config.Register{Path: "/api/inngest", Ask: server}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Contains(t, proof, ", at http://bus.joelclaw:3111/api/inngest")
	})
	t.Run("is what register.host says, with the role's port if it names none", func(t *testing.T) {
		role, ask, server := announcing(t, "")
		role.Register = &config.Register{Path: "/api/inngest", Ask: server, Host: "elsewhere.example"}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Contains(t, proof, fmt.Sprintf(", at http://elsewhere.example:%d/api/inngest", role.Port))
	})
	t.Run("is refused on loopback, though nobody named a host", func(t *testing.T) {
		for _, own := range []string{"127.0.0.1:3111", "localhost:3111", "[::1]:3111", "0.0.0.0:3111", "app.localhost"} {
			role, ask, server := announcing(t, own)
			role.Register = &config.Register{Path: "/api/inngest", Ask: server}
			_, err := probe.Register(t.Context(), role, ask)
			f := failure(t, err)
			require.Contains(t, f.Message, "http://"+own+"/api/inngest is registered, not a URL on bus.joelclaw:3111")
			require.Contains(t, f.Hint, "on a loopback address the server finds itself and not the worker")
		}
	})
	t.Run("is refused on any other host, though nobody named one", func(t *testing.T) {
		role, ask, server := announcing(t, "old.example:3111")
		role.Register = &config.Register{Path: "/api/inngest", Ask: server}
		_, err := probe.Register(t.Context(), role, ask)
		require.Contains(t, failure(t, err).Message, "http://old.example:3111/api/inngest is registered")
	})
	t.Run("must be known before the worker is asked", func(t *testing.T) {
		for _, known := range [][]string{nil, {"127.0.0.1:3111"}} {
			role, ask, server := announcing(t, "")
			ask.Addresses = known
			role.Register = &config.Register{Path: "/api/inngest", Ask: server}
			_, err := probe.Register(t.Context(), role, ask)
			require.Contains(t, failure(t, err).Hint, "set register.host")
			seen, err := probe.Registered(t.Context(), role, ask)
			require.NoError(t, err)
			require.Contains(t, seen.Fault.Message, `json.url != "" does not hold`, "nothing was registered")
		}
	})
}

func TestARegistrationThatAsksNobodyIsAFailure(t *testing.T) {
	role, ask, _ := announcing(t, "")
	for _, r := range []config.Register{{}, {Host: "bus.joelclaw:3111"}} {
		role.Register = &r
		_, err := probe.Register(t.Context(), role, ask)
		f := failure(t, err)
		require.Equal(t, release.CodeRegistrationFailed, f.Code)
		require.Contains(t, f.Message, "neither path nor ask")
		require.NotEmpty(t, f.Hint)
	}
}

func TestWhatTheServerHasIsAsked(t *testing.T) {
	t.Run("and compared with what the role answers for itself", func(t *testing.T) {
		role, ask, server := announcing(t, "")
		server.Expect = []string{"json.functions == role.count"}
		role.Register = &config.Register{Path: "/api/inngest", Ask: server}
		_, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		server.Expect = []string{"json.functions == size(role.functions) + 1"}
		role.Register.Within = config.Duration(2 * time.Second)
		_, err = probe.Register(t.Context(), role, ask)
		f := failure(t, err)
		require.Equal(t, "registration at the server", f.Object)
		require.Contains(t, f.Message, "json.functions == size(role.functions) + 1 does not hold: json.functions is 2")
	})
	t.Run("alone, where the worker has no way in", func(t *testing.T) {
		role, ask, server := announcing(t, "")
		ask.Do = func(context.Context, *http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
		server.Expect = []string{"json.functions == 2"}
		role.Register = &config.Register{Ask: server}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "as the server answers", proof)
	})
	t.Run("without changing it, and what differs is no error", func(t *testing.T) {
		role, ask, server := announcing(t, "127.0.0.1:3111")
		role.Register = &config.Register{Path: "/api/inngest", Ask: server, Host: "127.0.0.1:3111"}
		_, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err, "a loopback address that is named is wanted")
		role.Register.Host = "bus.joelclaw:3111"
		seen, err := probe.Registered(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "http://127.0.0.1:3111/api/inngest", seen.At)
		require.Equal(t, "bus.joelclaw:3111", seen.Wanted)
		require.Equal(t, release.CodeRegistrationFailed, seen.Fault.Code)
	})
	t.Run("and a server that cannot be asked is an error that tells no secret", func(t *testing.T) {
		t.Setenv("INNGEST_SIGNING_KEY", "planted-signing-key")
		role, ask, _ := announcing(t, "")
		refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization")+" is not known", http.StatusUnauthorized)
		}))
		defer refusing.Close()
		role.Register = &config.Register{Path: "/api/inngest", Ask: &config.Request{
			URL: refusing.URL, Headers: map[string]string{"Authorization": "Bearer ${env:INNGEST_SIGNING_KEY}"}, Expect: []string{`text == "fine"`},
		}}
		_, err := probe.Registered(t.Context(), role, ask)
		require.ErrorContains(t, err, "does not hold")
		require.NotContains(t, err.Error(), "planted-signing-key")
	})
}

func TestWhatAnAnswerOfTheServerSays(t *testing.T) {
	for status, unasked := range map[int]bool{
		http.StatusNotFound: false, http.StatusUnprocessableEntity: false, http.StatusBadRequest: false, http.StatusOK: false,
		http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusRequestTimeout: true, http.StatusTooManyRequests: true,
		http.StatusInternalServerError: true, http.StatusBadGateway: true, http.StatusServiceUnavailable: true,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			role, ask, _ := announcing(t, "")
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			defer server.Close()
			role.Register = &config.Register{Path: "/api/inngest", Ask: &config.Request{URL: server.URL, Expect: []string{`status == 204`}}}
			seen, err := probe.Registered(t.Context(), role, ask)
			if unasked {
				require.ErrorContains(t, err, "status == 204 does not hold")
				require.Nil(t, seen.Fault)
				return
			}
			require.NoError(t, err, "the server has answered, and does not have the worker as expected")
			require.Contains(t, seen.Fault.Message, "status == 204 does not hold")
		})
	}
}

func TestTheServersOwnIDOfAnEventIsAwaited(t *testing.T) {
	asked := ""
	role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Fprint(w, `{"ids":["01K3ZX"],"status":200}`)
			return
		}
		asked = r.URL.Path
		fmt.Fprint(w, `{"data":[{"status":"Completed"}]}`)
	})
	event := &config.Event{
		Send:  config.Request{URL: "/e/key", Body: `{"name":"x","data":{"id":"${ID}"}}`},
		ID:    "json.ids[0]",
		Await: config.Request{URL: "/v1/events/${ID}/runs", Expect: []string{`json.data.exists(r, r.status == "Completed")`}},
	}
	require.NoError(t, probe.Run(t.Context(), role, quick(config.Probe{Event: event}), ask))
	require.Equal(t, "/v1/events/01K3ZX/runs", asked)

	event.ID = "json.status"
	f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Event: event}), ask))
	require.Contains(t, f.Message, "json.status gives 200, which is no id")
	event.ID = `"../admin?x=" + json.ids[0]`
	f = failure(t, probe.Run(t.Context(), role, quick(config.Probe{Event: event}), ask))
	require.Contains(t, f.Message, "which is no id")
	require.True(t, strings.HasSuffix(f.Object, ": send"))
}

func TestAnEventThatWasAcceptedIsSentOnce(t *testing.T) {
	t.Setenv("INNGEST_EVENT_KEY", "planted-event-key")
	sent := 0
	role, ask := worker(t, func(w http.ResponseWriter, _ *http.Request) {
		sent++
		fmt.Fprint(w, `{"ids":["planted-event-key is no id"]}`)
	})
	event := &config.Event{
		Send:  config.Request{URL: "/e/${env:INNGEST_EVENT_KEY}", Body: `{"name":"x"}`},
		ID:    "json.ids[0]",
		Await: config.Request{URL: "/v1/events/${ID}/runs"},
	}
	role.Probes = []config.Probe{quick(config.Probe{Name: "cluster", Event: event})}
	f := failure(t, probe.Run(t.Context(), role, role.Probes[0], ask))
	require.Equal(t, 1, sent, "each event makes a function of the worker run")
	require.Equal(t, release.CodeProbeFailed, f.Code)
	require.Equal(t, "cluster", f.Role)
	require.Equal(t, "probe cluster: send", f.Object)
	require.Contains(t, f.Message, "POST /e/${env:INNGEST_EVENT_KEY}: json.ids[0] gives")
	require.Contains(t, f.Message, "which is no id")
	require.Equal(t, "HTTP 200", f.Log[0])
	require.NotEmpty(t, f.Hint)
	require.NotContains(t, fmt.Sprint(f, f.Log), "planted-event-key")
}
