// Package functionserver is a stand-in for an Inngest server, which cannot be had as a
// module: it keeps the protocol that workers made with Inngest's SDK and the recipes of
// docs/inngest.md speak, of the server 1.x and the SDK 3.x. Workers register at
// /fn/register, events come in at /e/KEY and call the functions at the registered URLs,
// signed, or those of workers in connect mode over their connections; /v1/events/ID/runs
// and /v0/gql tell what became of it. It keeps all in memory, tries nothing again, runs
// no crons, and does not keep its answers for 15 s.
package functionserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one server. Its keys are those that workers and senders need.
type Server struct {
	URL        string
	SigningKey string
	EventKey   string
	NoGateway  bool // workers in connect mode are turned away

	mu          sync.Mutex
	apps        map[string]App
	connections []*Connection
	runs        map[string][]*Run // by event
	reach       map[string]string // the address behind a host[:port]
	connecting  int               // how often a worker has asked for a gateway
	calls       *http.Client
}

// App is what a worker registered.
type App struct {
	Name          string     `json:"name"`
	URL           string     `json:"url"`
	Method        string     `json:"method"` // SERVE or CONNECT
	FunctionCount int        `json:"functionCount"`
	Functions     []Function `json:"functions"`
	SDKLanguage   string     `json:"sdkLanguage"`
	SDKVersion    string     `json:"sdkVersion"`
	Framework     string     `json:"framework"`
	Checksum      string     `json:"checksum"`
	Error         *string    `json:"error"`
	Connected     bool       `json:"connected"`
}

// Function is one function of an app.
type Function struct {
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	app      string
	triggers []string
	url      string // "" in connect mode
}

// Connection is a worker in connect mode.
type Connection struct {
	AppName       string    `json:"appName"`
	InstanceID    string    `json:"instanceId"`
	Status        string    `json:"status"` // READY, DRAINING, DISCONNECTED, …
	ConnectedAt   time.Time `json:"connectedAt"`
	FunctionCount int       `json:"functionCount"`
	SDKVersion    string    `json:"sdkVersion"`
	requests      chan *request
}

// Run is one run of a function.
type Run struct {
	RunID      string          `json:"run_id"`
	StartedAt  time.Time       `json:"run_started_at"`
	FunctionID string          `json:"function_id"`
	EventID    string          `json:"event_id"`
	Status     string          `json:"status"` // Running, Completed, Failed
	EndedAt    *time.Time      `json:"ended_at"`
	Output     json.RawMessage `json:"output,omitempty"`
}

// Start starts a server for the time of a test. It reaches no worker before Reach.
func Start(t testing.TB) *Server {
	s := &Server{SigningKey: "deadbeef01234567", EventKey: "local", apps: map[string]App{}, runs: map[string][]*Run{}, reach: map[string]string{}}
	s.calls = s.client()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fn/register", s.register)
	mux.HandleFunc("POST /v0/gql", s.query)
	mux.HandleFunc("POST /e/{key}", s.receive)
	mux.HandleFunc("GET /v1/events/{id}/runs", s.eventRuns)
	mux.HandleFunc("POST /v0/connect/start", s.startConnection)
	mux.Handle("GET /v0/connect/gateway", s.gateway())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// App is what is registered under a name.
func (s *Server) App(name string) (App, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, ok := s.apps[name]
	return app, ok
}

// Reach says which address the server finds behind a host:port.
func (s *Server) Reach(host, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reach[host] = address
}

// Connecting is how often a worker in connect mode has asked for a gateway.
func (s *Server) Connecting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connecting
}

// register takes what a worker serves. As the server does, it calls 127.0.0.1 localhost.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		http.Error(w, "Authentication failed", http.StatusUnauthorized)
		return
	}
	var body struct {
		URL, AppName, SDK, Framework string
		Functions                    []declared
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.AppName == "" {
		reply(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprint("Invalid request: ", err), "status": http.StatusBadRequest})
		return
	}
	language, version, _ := strings.Cut(body.SDK, ":")
	app := App{
		Name: body.AppName, URL: strings.Replace(body.URL, "//127.0.0.1", "//localhost", 1), Method: "SERVE", Framework: body.Framework,
		SDKLanguage: language, SDKVersion: version, FunctionCount: len(body.Functions), Functions: functionsOf(body.AppName, body.Functions), Connected: true,
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", body))
	app.Checksum = hex.EncodeToString(sum[:])
	s.mu.Lock()
	modified := s.apps[app.Name].Checksum != app.Checksum
	s.apps[app.Name] = app
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"ok": true, "modified": modified})
}

// declared is a function as the SDK declares it.
type declared struct {
	ID, Name string
	Triggers []struct{ Event string }
	Steps    map[string]struct{ Runtime struct{ URL string } }
}

func functionsOf(app string, all []declared) []Function {
	out := []Function{}
	for _, f := range all {
		fn := Function{Slug: f.ID, Name: f.Name, app: app, url: f.Steps["step"].Runtime.URL}
		for _, trigger := range f.Triggers {
			fn.triggers = append(fn.triggers, trigger.Event)
		}
		out = append(out, fn)
	}
	return out
}

// authorized reports whether a request has the signing key, as it is or as the SDK
// hashes it.
func (s *Server) authorized(r *http.Request) bool {
	raw, _ := hex.DecodeString(s.SigningKey)
	sum := sha256.Sum256(raw)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token == s.SigningKey || token == hex.EncodeToString(sum[:])
}

// eventRuns tells the runs that an event started.
func (s *Server) eventRuns(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !s.authorized(r) {
		http.Error(w, "Authentication failed", http.StatusUnauthorized)
		return
	}
	if !regexp.MustCompile(`^[0-9A-Z]{26}$`).MatchString(id) {
		reply(w, http.StatusBadRequest, map[string]any{"error": "Invalid event ID: " + id, "status": http.StatusBadRequest})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := []Run{}
	for _, run := range s.runs[id] {
		runs = append(runs, *run)
	}
	reply(w, http.StatusOK, map[string]any{"data": runs, "metadata": map[string]any{"fetched_at": time.Now().UTC()}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// newID is an id as the server gives them: 26 characters of Crockford's base 32.
func newID() string {
	raw := make([]byte, 26)
	_, _ = rand.Read(raw)
	for i := range raw {
		raw[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[raw[i]%32]
	}
	return string(raw)
}
