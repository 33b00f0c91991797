package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/functionserver"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// recipe is a block of docs/inngest.md, below a heading, as a role of the configuration. at are
// the addresses of the page with what stands there in this test.
func recipe(t *testing.T, heading string, at ...string) config.Role {
	t.Helper()
	page, err := os.ReadFile("../docs/inngest.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "\n## "+heading+"\n")
	require.True(t, found, "docs/inngest.md has no %s", heading)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(text)[1]
	var keys map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.NewReplacer(at...).Replace(block)), &keys))
	keys["image"], keys["kubernetes"], keys["port"] = "worker", map[string]any{"namespace": "joelclaw"}, 3111
	keys["probe"] = map[string]any{"path": "/"}
	file, err := yaml.Marshal(map[string]any{
		"app": "system-bus", "roles": map[string]any{"cluster": keys},
		"images": map[string]any{"worker": map[string]any{"repository": "registry.test/worker", "package": "packages/worker", "base": "scratch"}},
	})
	require.NoError(t, err)
	cfg, err := config.Parse("shipit.yaml", file, "")
	require.NoError(t, err)
	for _, f := range probe.Validate(cfg) {
		require.NotEqual(t, release.Refuses, f.Severity, "%s", f)
	}
	return cfg.Roles[0]
}

// throughProxy is the way to a worker by a proxy with an address of its own, which passes
// on the Host of a request only if it names another one: as the API server's.
func throughProxy(t *testing.T, port string) probe.Asker {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", "127.0.0.1:"+port
		res, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(proxy.Close)
	return probe.Asker{Addresses: []string{"system-bus-worker:3111"}, Do: func(_ context.Context, req *http.Request) (*http.Response, error) {
		if req.Host == req.URL.Host {
			req.Host = ""
		}
		req.URL.Host = strings.TrimPrefix(proxy.URL, "http://")
		return http.DefaultTransport.RoundTrip(req)
	}}
}

func TestTheRecipesForInngestWithItsOwnSDK(t *testing.T) {
	if testing.Short() {
		t.Skip("installs Inngest's SDK from npm")
	}
	dir := functionserver.Install(t)
	server := functionserver.Start(t)
	t.Setenv("INNGEST_EVENT_KEY", server.EventKey)
	t.Setenv("INNGEST_SIGNING_KEY", server.SigningKey)
	page := []string{"http://localhost:8288", server.URL}
	cluster := map[string]string{"WORKER_ROLE": "cluster", "INNGEST_APP_ID": "system-bus-cluster", "INNGEST_SERVE_HOST": ""}

	t.Run("a worker without an address of its own is registered where the server reaches it", func(t *testing.T) {
		w := server.StartWorker(t, dir, cluster)
		role, ask := recipe(t, "Registration, proved by the server", page...), throughProxy(t, w.Port)
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, `200 {"message":"Successfully registered","modified":true}, at http://system-bus-worker:3111/api/inngest`, proof)
		app, _ := server.App("system-bus-cluster")
		require.Equal(t, "http://system-bus-worker:3111/api/inngest", app.URL)
		require.Equal(t, 2, app.FunctionCount)

		// It asks itself, as the first user's does some seconds after its start.
		put(t, "http://127.0.0.1:"+w.Port+"/api/inngest")
		seen, err := probe.Registered(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "http://localhost:"+w.Port+"/api/inngest", seen.At)
		require.Contains(t, seen.Fault.Message, "not a URL on system-bus-worker:3111")
	})
	t.Run("one that announces a loopback address is refused", func(t *testing.T) {
		own := map[string]string{"WORKER_ROLE": "cluster", "INNGEST_APP_ID": "system-bus-cluster", "INNGEST_SERVE_HOST": "http://127.0.0.1:3111"}
		w := server.StartWorker(t, dir, own)
		_, err := probe.Register(t.Context(), recipe(t, "Registration, proved by the server", page...), throughProxy(t, w.Port))
		require.Contains(t, failure(t, err).Message, "http://localhost:3111/api/inngest is registered, not a URL on system-bus-worker:3111")
	})
	t.Run("functions that the server lacks fail the registration", func(t *testing.T) {
		other := functionserver.Start(t)
		w := other.StartWorker(t, dir, map[string]string{"WORKER_ROLE": "cluster", "INNGEST_APP_ID": "another-app"})
		role := recipe(t, "Registration, proved by the server", "http://localhost:8288", other.URL)
		role.Register.Within = config.Duration(3 * time.Second)
		_, err := probe.Register(t.Context(), role, throughProxy(t, w.Port))
		require.Equal(t, "registration at the server", failure(t, err).Object)
	})
	t.Run("a function of the cluster runs", func(t *testing.T) {
		w := server.StartWorker(t, dir, cluster)
		role, ask := recipe(t, "A function that really runs", page...), throughProxy(t, w.Port)
		registered := recipe(t, "Registration, proved by the server", page...)
		_, err := probe.Register(t.Context(), registered, ask)
		require.NoError(t, err)

		p := role.Probes[0]
		f := failure(t, probe.Run(t.Context(), role, quick(p), ask))
		require.Contains(t, f.Message, "Unable to reach SDK URL: system-bus-worker:3111", "the server does not know the name")

		server.Reach("system-bus-worker:3111", "127.0.0.1:"+w.Port)
		require.NoError(t, probe.Run(t.Context(), role, patient(p), ask))
	})
	t.Run("a function that fails is none that runs", func(t *testing.T) {
		w := server.StartWorker(t, dir, cluster)
		server.Reach("system-bus-worker:3111", "127.0.0.1:"+w.Port)
		role, ask := recipe(t, "A function that really runs", append(page, "queue/observer.requested", "always/fails")...), throughProxy(t, w.Port)
		f := failure(t, probe.Run(t.Context(), role, quick(role.Probes[0]), ask))
		require.Contains(t, f.Message, "as it always does")
	})
	connectMode := map[string]string{"INNGEST_CONNECT_MODE": "1", "WORKER_ROLE": "cluster", "INNGEST_APP_ID": "system-bus-cluster"}
	t.Run("in connect mode the server says which workers are connected", func(t *testing.T) {
		server := functionserver.Start(t)
		at := []string{"http://localhost:8288", server.URL}
		w := server.StartWorker(t, dir, connectMode)
		role, ask := recipe(t, "Connect mode", at...), throughProxy(t, w.Port)
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "as the server answers", proof)
		run := recipe(t, "A function that really runs", at...)
		require.NoError(t, probe.Run(t.Context(), run, patient(run.Probes[0]), ask), "a function runs over the connection")

		later := server.StartWorker(t, dir, cluster) // which does not connect
		role.Register.Within = config.Duration(2 * time.Second)
		_, err = probe.Register(t.Context(), role, throughProxy(t, later.Port))
		require.Contains(t, failure(t, err).Message, "does not hold", "the connection of the old worker is not that of the new one")
	})
	t.Run("SIGTERM in connect mode ends the worker only if it ends itself", func(t *testing.T) {
		for _, connected := range []bool{true, false} {
			for _, exits := range []string{"0", "1"} {
				server := functionserver.Start(t)
				server.NoGateway = !connected
				w := server.StartWorker(t, dir, with(connectMode, "EXIT_WHEN_CLOSED", exits))
				require.Eventually(t, func() bool {
					app, _ := server.App("system-bus-cluster")
					return server.Connecting() > 0 && app.Connected == connected
				}, time.Minute, 20*time.Millisecond)
				require.NoError(t, w.Process.Process.Signal(syscall.SIGTERM))
				ended := make(chan struct{})
				go func() { _ = w.Process.Wait(); close(ended) }()
				limit := time.Minute // to end
				if exits == "0" {
					limit = 2 * time.Second // to be seen to go on
				}
				select {
				case <-ended:
					require.Equal(t, "1", exits, "the SDK has left SIGTERM to others: say so in docs/inngest.md")
				case <-time.After(limit):
					require.Equal(t, "0", exits, "connected: %t", connected)
				}
			}
		}
	})
}

func with(env map[string]string, name, value string) map[string]string {
	out := maps.Clone(env)
	out[name] = value
	return out
}

func put(t *testing.T, address string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
}

// events stands in for the way of the first user's events: /observability/emit of the
// worker takes them, and the table otel_events of ClickHouse answers a query in its
// format JSON. It understands no SQL but the columns that the recipe asks for.
type events struct {
	mu   sync.Mutex
	rows []event
}

type event struct {
	Source, Component, Action string
	Metadata                  struct{ PID int }
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.URL.Path == "/observability/emit" {
		var sent event
		_ = json.NewDecoder(r.Body).Decode(&sent)
		e.rows = append(e.rows, sent)
		return
	}
	query, _ := io.ReadAll(r.Body)
	if r.Header.Get("X-ClickHouse-User") != "reader" || r.Header.Get("X-ClickHouse-Key") != "planted-password" || !strings.HasSuffix(string(query), " FORMAT JSON") {
		http.Error(w, "Code: 516. DB::Exception: Authentication failed", http.StatusForbidden)
		return
	}
	data := []map[string]int{}
	for _, row := range e.rows {
		if strings.Contains(string(query), fmt.Sprintf("source = '%s' AND component = '%s' AND action = '%s'", row.Source, row.Component, row.Action)) {
			data = append(data, map[string]int{"pid": row.Metadata.PID})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"meta": []any{}, "data": data, "rows": len(data)})
}

// emit sends an event of the gateway, as its daemon does when it has started.
func (e *events) emit(t *testing.T, address, action string, pid int) {
	t.Helper()
	body := fmt.Sprintf(`{"level":"info","source":"gateway","component":"daemon","action":%q,"success":true,"metadata":{"pid":%d}}`, action, pid)
	res, err := http.Post(address+"/observability/emit", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
}

func TestTheStartOfAGatewayIsAwaited(t *testing.T) {
	t.Setenv("CLICKHOUSE_USER", "reader")
	t.Setenv("CLICKHOUSE_PASSWORD", "planted-password")
	events := &events{}
	table := httptest.NewServer(events)
	defer table.Close()
	gateway, ask := worker(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok":true,"available":true,"healthy":true,"status":{"pid":4711,"uptimeMs":900}}`)
	})
	role := recipe(t, "The gateway's event in otel_events", "http://flagg:8123/", table.URL)
	role.Port, role.Probe.Path = gateway.Port, "/health"
	p := role.Probes[0]
	events.emit(t, table.URL, "daemon.started", 17) // the process before
	events.emit(t, table.URL, "daemon.session.started", 4711)
	f := failure(t, probe.Run(t.Context(), role, quick(p), ask))
	require.Contains(t, f.Object, "its start is in otel_events: await")
	require.NotContains(t, fmt.Sprint(f), "planted-password")
	events.emit(t, table.URL, "daemon.started", 4711)
	require.NoError(t, probe.Run(t.Context(), role, patient(p), ask))
}
