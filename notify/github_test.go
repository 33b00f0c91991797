package notify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

const sha = "4f2a91c04f2a91c04f2a91c04f2a91c04f2a91c0"

// deployment is one that the stand-in keeps.
type deployment struct {
	newDeployment
	ID     int64      `json:"id"`
	states []newState // newest first
}

// hub stands in for GitHub's API: it keeps deployments and statuses, and answers as the
// documentation says. fault answers in its place where it wants to.
type hub struct {
	*httptest.Server
	fault func(w http.ResponseWriter, r *http.Request) bool

	mu          sync.Mutex
	calls       []string
	deployments []*deployment // oldest first
	statuses    []newStatus   // of the commit
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /repos/joelhooks/joelclaw/deployments", h.create)
	mux.HandleFunc("GET /repos/joelhooks/joelclaw/deployments", h.list)
	mux.HandleFunc("POST /repos/joelhooks/joelclaw/deployments/{id}/statuses", h.setState)
	mux.HandleFunc("GET /repos/joelhooks/joelclaw/deployments/{id}/statuses", h.states)
	mux.HandleFunc("POST /repos/joelhooks/joelclaw/statuses/"+sha, h.setStatus)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls = append(h.calls, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/repos/joelhooks/joelclaw/"))
		switch {
		case r.Header.Get("Authorization") != "Bearer t0ken" || r.Header.Get("Accept") != "application/vnd.github+json":
			answer(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		case h.fault != nil && h.fault(w, r):
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (h *hub) create(w http.ResponseWriter, r *http.Request) {
	d := &deployment{ID: int64(100 + len(h.deployments))}
	if json.NewDecoder(r.Body).Decode(&d.newDeployment) != nil || d.Ref != sha {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "No ref found for: " + d.Ref})
		return
	}
	h.deployments = append(h.deployments, d)
	answer(w, http.StatusCreated, d)
}

func (h *hub) list(w http.ResponseWriter, r *http.Request) {
	found := []*deployment{}
	for i := len(h.deployments) - 1; i >= 0; i-- {
		d := h.deployments[i]
		if d.Environment == r.URL.Query().Get("environment") && d.Task == r.URL.Query().Get("task") {
			found = append(found, d)
		}
	}
	answer(w, http.StatusOK, found)
}

func (h *hub) named(r *http.Request) *deployment {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	for _, d := range h.deployments {
		if d.ID == id {
			return d
		}
	}
	return nil
}

func (h *hub) setState(w http.ResponseWriter, r *http.Request) {
	d := h.named(r)
	var s newState
	if d == nil || json.NewDecoder(r.Body).Decode(&s) != nil {
		answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	d.states = append([]newState{s}, d.states...)
	answer(w, http.StatusCreated, s)
}

func (h *hub) states(w http.ResponseWriter, r *http.Request) {
	states := []newState{}
	if d := h.named(r); d != nil && len(d.states) > 0 {
		states = d.states[:1]
	}
	answer(w, http.StatusOK, states)
}

func (h *hub) setStatus(w http.ResponseWriter, r *http.Request) {
	var s newStatus
	_ = json.NewDecoder(r.Body).Decode(&s)
	h.statuses = append(h.statuses, s)
	answer(w, http.StatusCreated, s)
}

// now are the newest states of all deployments, oldest first.
func (h *hub) now() []state {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []state
	for _, d := range h.deployments {
		all = append(all, d.states[0].State)
	}
	return all
}

// job of GitHub Actions.
func (h *hub) options() Options {
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "t0ken", "GITHUB_REPOSITORY": "joelhooks/joelclaw", "GITHUB_API_URL": h.URL,
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_RUN_ID": "77",
	}
	return Options{App: "bus", Environment: "staging", Command: "release", grace: time.Minute, wait: time.Millisecond,
		getenv: func(name string) string { return env[name] }}
}

func record(seq int64, outcome release.Outcome) release.Record {
	return release.Record{App: "bus", Seq: seq, Kind: release.KindRelease, SHA: sha, Version: "1.4.2", Outcome: outcome, Parity: outcome == release.Settled}
}

// run is a run that ends so; it returns what was missed.
func (h *hub) run(o Options, seq int64, outcome release.Outcome) []string {
	n := Open(o)
	n.Begun(record(seq, release.Pending))
	n.Ended(record(seq, outcome))
	return n.Close()
}

func TestADeploymentAndAStatusOfTheCommit(t *testing.T) {
	h := newHub(t)
	require.Empty(t, h.run(h.options(), 1, release.Settled))
	d := h.deployments[0]
	require.Equal(t, newDeployment{Ref: sha, Task: "deploy:bus", Contexts: []string{}, Environment: "staging", Description: "bus release #1 1.4.2",
		Payload: payload{App: "bus", Seq: 1, Kind: release.KindRelease, Version: "1.4.2"}}, d.newDeployment)
	const run = "https://github.com/joelhooks/joelclaw/actions/runs/77"
	require.Equal(t, []newState{
		{State: success, LogURL: run, Description: "settled, in parity"}, {State: inProgress, LogURL: run, Description: "bus release #1 1.4.2"},
	}, d.states)
	require.Equal(t, []newStatus{
		{State: pending, TargetURL: run, Description: "under way", Context: "shipit/bus/staging"},
		{State: success, TargetURL: run, Description: "settled, in parity", Context: "shipit/bus/staging"},
	}, h.statuses)

	t.Run("the one before becomes inactive, and none of another app or environment", func(t *testing.T) {
		other, production := h.options(), h.options()
		other.App, production.Environment = "site", "production"
		require.Empty(t, h.run(other, 1, release.Settled))
		require.Empty(t, h.run(production, 1, release.Settled))
		require.Empty(t, h.run(h.options(), 2, release.Settled))
		require.Equal(t, []state{inactive, success, success, success}, h.now())
	})
	t.Run("one that was restored has failed, and the one before stays active", func(t *testing.T) {
		require.Empty(t, h.run(h.options(), 3, release.Restored))
		require.Equal(t, []state{inactive, success, success, success, failure}, h.now())
		require.Equal(t, failure, h.statuses[len(h.statuses)-1].State)
	})
	t.Run("an interrupted one is an error", func(t *testing.T) {
		require.Empty(t, h.run(h.options(), 4, release.Pending))
		require.Equal(t, []state{inactive, success, success, success, failure, broken}, h.now())
	})
	t.Run("after those that failed, the last success becomes inactive, and one that never ended", func(t *testing.T) {
		killed := Open(h.options())
		killed.Begun(record(5, release.Pending))
		require.Empty(t, killed.Close())
		require.Empty(t, h.run(h.options(), 6, release.Settled))
		require.Equal(t, []state{inactive, success, success, inactive, failure, broken, inactive, success}, h.now())
	})
	t.Run("what ran before the first release has no commit to tell of", func(t *testing.T) {
		before := len(h.calls)
		n := Open(h.options())
		adopted := record(7, release.Settled)
		adopted.SHA = ""
		n.Begun(adopted)
		n.Ended(adopted)
		require.Empty(t, n.Close())
		require.Len(t, h.calls, before)
	})
	t.Run("a run that changes nothing tells nothing", func(t *testing.T) {
		before := len(h.calls)
		n := Open(h.options())
		unchanged := record(6, release.Settled)
		unchanged.Unchanged = true
		n.Ended(unchanged)
		require.Empty(t, n.Close())
		require.Len(t, h.calls, before)
	})
}

func TestATokenThatMayNotIsAWarningOnce(t *testing.T) {
	refuse := func(part string, status int, message string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			answer(w, status, map[string]string{"message": message})
			return true
		}
	}
	t.Run("for deployments, and the status is set all the same", func(t *testing.T) {
		h := newHub(t)
		h.fault = refuse("/deployments", http.StatusForbidden, "Resource not accessible by integration")
		require.Equal(t, []string{"GitHub was not told: the token may not create a deployment (403 Forbidden: Resource not accessible by integration); " +
			"it needs the permission deployments: write"}, h.run(h.options(), 1, release.Settled))
		require.Equal(t, []string{"POST deployments", "POST statuses/" + sha, "POST statuses/" + sha}, h.calls, "it is not asked again")
	})
	t.Run("for statuses", func(t *testing.T) {
		h := newHub(t)
		h.fault = refuse("/statuses/"+sha, http.StatusNotFound, "Not Found")
		missed := h.run(h.options(), 1, release.Settled)
		require.Equal(t, []string{"GitHub was not told: the token may not set a status of the commit (404 Not Found: Not Found); it needs the permission statuses: write"}, missed)
		require.Equal(t, []state{success}, h.now())
	})
	t.Run("for anything, and neither token nor answer is said in full", func(t *testing.T) {
		h := newHub(t)
		h.fault = refuse("", http.StatusUnauthorized, "Bearer t0ken is none. "+strings.Repeat("Bad credentials. ", 100))
		missed := h.run(h.options(), 1, release.Settled)
		require.Len(t, missed, 1)
		require.Less(t, len(missed[0]), 600)
		require.NotContains(t, missed[0], "t0ken")
		require.Len(t, h.calls, 2)
	})
}

func TestOtherAnswersOfGitHub(t *testing.T) {
	only := func(method, path string, times int, give func(w http.ResponseWriter)) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != method || !strings.HasSuffix(r.URL.Path, path) || times == 0 {
				return false
			}
			times--
			give(w)
			return true
		}
	}
	for _, tc := range []struct {
		name  string
		fault func(w http.ResponseWriter, r *http.Request) bool
		says  string // "": nothing is missed
	}{
		{"409, a status of the commit stands in the way", only("POST", "/deployments", 1, func(w http.ResponseWriter) {
			answer(w, http.StatusConflict, map[string]string{"message": "Conflict: Commit status checks failed for master."})
		}), "could not create a deployment: 409 Conflict: Conflict: Commit status checks failed for master."},
		{"422, the commit was not pushed", only("POST", "/deployments", 1, func(w http.ResponseWriter) {
			answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "No ref found for: " + sha})
		}), "could not create a deployment: 422 Unprocessable Entity: No ref found for: " + sha},
		{"202, a merge in place of a deployment", only("POST", "/deployments", 1, func(w http.ResponseWriter) {
			answer(w, http.StatusAccepted, map[string]string{"message": "Auto-merged master into topic-branch on deployment."})
		}), "could not create a deployment: the answer names no deployment"},
		{"a secondary rate limit is waited for", only("POST", "/deployments", 2, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			answer(w, http.StatusForbidden, map[string]string{"message": "You have exceeded a secondary rate limit"})
		}), ""},
		{"so is a primary one that is over soon", only("POST", "/deployments", 1, func(w http.ResponseWriter) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Unix()))
			answer(w, http.StatusForbidden, map[string]string{"message": "API rate limit exceeded"})
		}), ""},
		{"one that lasts is no missing permission", only("POST", "/deployments", attempts, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			answer(w, http.StatusTooManyRequests, map[string]string{"message": "API rate limit exceeded"})
		}), "could not create a deployment: 429 Too Many Requests: API rate limit exceeded"},
		{"an outage of a moment", only("POST", "/statuses", 2, func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }), ""},
		{"an answer that is no JSON", only("POST", "/deployments", 1, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte("<html>"))
		}), "could not create a deployment: 409 Conflict"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHub(t)
			h.fault = tc.fault
			missed := h.run(h.options(), 1, release.Settled)
			if tc.says == "" {
				require.Empty(t, missed)
				require.Equal(t, []state{success}, h.now())
				return
			}
			require.Equal(t, []string{"GitHub was not told: " + tc.says}, missed)
			require.Len(t, h.statuses, 2, "the status of the commit does not hang on it")
		})
	}
	t.Run("a rate limit that is over late is given up with the command", func(t *testing.T) {
		h := newHub(t)
		h.fault = only("POST", "/deployments", -1, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3600")
			answer(w, http.StatusForbidden, map[string]string{"message": "You have exceeded a secondary rate limit"})
		})
		o := h.options()
		o.grace = time.Millisecond
		answers := readAnswers{make(chan struct{}, 100)}
		o.transport = answers
		began := time.Now()
		n := Open(o)
		n.Begun(record(1, release.Pending))
		n.Ended(record(1, release.Settled))
		<-answers.read
		missed := n.Close()
		require.Less(t, time.Since(began), time.Minute, "an hour is not waited for, nor every attempt")
		require.Contains(t, missed[0], "no success before the command ended, the last answer was 403 Forbidden")
	})
}

// readAnswers is a transport that tells when an answer was read and put aside.
type readAnswers struct{ read chan struct{} }

func (a readAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Body = toldBody{resp.Body, a.read}
	}
	return resp, err
}

type toldBody struct {
	io.ReadCloser
	closed chan<- struct{}
}

func (b toldBody) Close() error {
	b.closed <- struct{}{}
	return b.ReadCloser.Close()
}

func TestWhenGitHubIsTold(t *testing.T) {
	job := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "t0ken", "GITHUB_REPOSITORY": "joelhooks/joelclaw"}
	hand := map[string]string{"GITHUB_TOKEN": "t0ken"}
	for _, tc := range []struct {
		name   string
		report string
		env    map[string]string
		source string
		origin string
		told   string // the repository; "": it is not told
		says   string
	}{
		{"in a job", "", job, "", "", "joelhooks/joelclaw", ""},
		{"in a job without a token", "", map[string]string{"GITHUB_ACTIONS": "true"}, "", "", "", ""},
		{"by hand it is not", "", hand, "https://github.com/joelhooks/joelclaw", "", "", ""},
		{"by hand where it is asked for", "always", hand, "https://github.com/joelhooks/joelclaw", "", "joelhooks/joelclaw", ""},
		{"of a repository that is reached over SSH", "always", hand, "git@github.com:joelhooks/joelclaw.git", "", "joelhooks/joelclaw", ""},
		{"of one that is elsewhere", "always", hand, "https://gitlab.com/joelhooks/joelclaw", "", "", "GitHub was not told: the repository is not known: name it as source in shipit.yaml"},
		{"of the remote origin", "always", hand, "", "git@github.com:joelhooks/joelclaw.git", "joelhooks/joelclaw", ""},
		{"of the remote origin, where the source is elsewhere", "always", hand, "https://gitlab.com/joelhooks/joelclaw", "git@github.com:joelhooks/joelclaw.git", "joelhooks/joelclaw", ""},
		{"of the source before the remote", "always", hand, "https://github.com/joelhooks/joelclaw", "https://github.com/somebody/fork", "joelhooks/joelclaw", ""},
		{"of the job before all", "always", job, "https://github.com/other/one", "https://github.com/somebody/fork", "joelhooks/joelclaw", ""},
		{"asked for without a token", "always", map[string]string{}, "https://github.com/joelhooks/joelclaw", "", "joelhooks/joelclaw", "GitHub was not told: GITHUB_TOKEN is not set"},
		{"never", "never", job, "", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := Options{Config: config.Notify{GitHub: config.GitHub{Report: tc.report}}, Source: tc.source, Origin: func() string { return tc.origin }, getenv: func(name string) string { return tc.env[name] }}
			g := newGitHub(o)
			if tc.told == "" && tc.says == "" {
				require.Nil(t, g)
				return
			}
			require.Equal(t, tc.told, g.api.repository)
			require.Equal(t, tc.says, g.missed())
			require.Equal(t, "production", g.environment, "GitHub's own word where there is none")
		})
	}
}
