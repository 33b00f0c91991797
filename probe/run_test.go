package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

func TestRunHTTP(t *testing.T) {
	t.Parallel()
	t.Run("it is asked again until it holds", func(t *testing.T) {
		var asked atomic.Int32
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) < 3 {
				http.Error(w, "starting", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, `{"count":2}`)
		})
		require.NoError(t, probe.Run(t.Context(), role, patient(config.Probe{Path: "/", Expect: []string{"json.count == 2"}}), ask))
		require.EqualValues(t, 3, asked.Load())
	})
	t.Run("without an expectation the status must be 200", func(t *testing.T) {
		t.Parallel()
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Path: "/"}), ask))
		require.Contains(t, f.Message, "GET /: status == 200 does not hold: status is 204")
	})
	t.Run("a failure tells the value, the answer and how often it was tried", func(t *testing.T) {
		t.Parallel()
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"worker":{"role":"host"}}`)
		})
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Name: "role", Path: "/", Expect: []string{`json.worker.role == "cluster"`}}), ask))
		require.Equal(t, "cluster", f.Role)
		require.Equal(t, release.CodeProbeFailed, f.Code)
		require.Equal(t, "probe role", f.Object)
		require.Regexp(t, `^GET /: json.worker.role == "cluster" does not hold: json.worker.role is "host" \(tried \d+ times in 2s\)$`, f.Message)
		require.Equal(t, []string{"HTTP 503", `{"worker":{"role":"host"}}`}, f.Log)
		require.NotEmpty(t, f.Hint)
	})
	t.Run("an answer that never comes ends with the window", func(t *testing.T) {
		t.Parallel()
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		began := time.Now()
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Path: "/"}), ask))
		require.Contains(t, f.Message, "no answer in time")
		require.Less(t, time.Since(began), 10*time.Second, "which is the limit of one request")
	})
	t.Run("the probe's port goes before the role's", func(t *testing.T) {
		var host string
		ask := func(_ context.Context, req *http.Request) (*http.Response, error) {
			host = req.URL.Host
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}
		require.NoError(t, probe.Run(t.Context(), config.Role{Port: 1}, config.Probe{Path: "/x?y=1", Port: 3018}, probe.Asker{Do: ask}))
		require.Equal(t, "127.0.0.1:3018", host)
	})
	t.Run("a context that ends gives its cause, not a failure", func(t *testing.T) {
		gone := errors.New("the user gave up")
		ctx, cancel := context.WithCancelCause(t.Context())
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) { cancel(gone); w.WriteHeader(500) })
		require.ErrorIs(t, probe.Run(ctx, role, config.Probe{Path: "/"}, ask), gone)
	})
}

func TestRunCommand(t *testing.T) {
	t.Parallel()
	role := config.Role{Name: "host"}
	for _, tc := range []struct {
		name    string
		command []string
		output  string
		want    string
	}{
		{"exit code 0 is enough", []string{"true"}, "", ""},
		{"the output matches", []string{"echo", "3 rows"}, `^\d+ rows`, ""},
		{"the output does not match", []string{"echo", "no rows"}, `^\d+ rows`, "its output does not match"},
		{"another exit code", []string{"sh", "-c", "echo broken >&2; exit 3"}, "", "exit code 3"},
		{"no such program", []string{"shipit-no-such-program"}, "", "not found"},
		{"a program that hangs, with children", []string{"sh", "-c", "sleep 60 & wait"}, "", "signal: killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := config.Probe{Command: tc.command, Output: tc.output}
			if tc.want == "" {
				require.NoError(t, probe.Run(t.Context(), role, patient(p), probe.Asker{}))
				return
			}
			f := failure(t, probe.Run(t.Context(), role, quick(p), probe.Asker{}))
			require.Contains(t, f.Message, tc.want)
			if strings.Contains(tc.name, "exit code") {
				require.Equal(t, []string{"broken"}, f.Log)
			}
		})
	}
}

func TestRunCommandLeavesNothingBehind(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	f := failure(t, probe.Run(t.Context(), config.Role{}, quick(config.Probe{Command: []string{"sh", "-c", `exec 3>"$0"; sleep 60 & wait`, pipe}}), probe.Asker{}))
	require.Contains(t, f.Message, "killed")
	// The pipe ends once the last process that holds it open for writing is gone.
	end, err := os.Open(pipe)
	require.NoError(t, err)
	defer end.Close()
	require.NoError(t, reader.Close())
	gone := make(chan error, 1)
	go func() { _, err := io.ReadAll(end); gone <- err }()
	select {
	case err := <-gone:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("a child of the command still runs")
	}
}

func TestRunEvent(t *testing.T) {
	var mu sync.Mutex
	var stored []string
	var sawToken string
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sawToken = r.Header.Get("Authorization")
		fmt.Fprintf(w, `{"rows":["%s"],"asked":%q}`, strings.Join(stored, `","`), r.URL.Query().Get("id"))
	}))
	defer store.Close()
	keep := true
	role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event struct{ ID string }
		_ = json.Unmarshal(body, &event)
		time.AfterFunc(20*time.Millisecond, func() {
			mu.Lock()
			defer mu.Unlock()
			if keep {
				stored = append(stored, event.ID)
			}
		})
		w.WriteHeader(http.StatusAccepted)
	})
	t.Setenv("PROBE_TOKEN", "s3cret")
	event := &config.Event{
		Send: config.Request{URL: "/events", Body: `{"id":"${ID}"}`},
		Await: config.Request{
			URL: store.URL + "/rows?id=${ID}", Headers: map[string]string{"Authorization": "Bearer ${env:PROBE_TOKEN}"},
			Expect: []string{`"${ID}" in json.rows && json.asked == "${ID}"`},
		},
	}
	t.Run("an event sent to the role shows in the other place", func(t *testing.T) {
		require.NoError(t, probe.Run(t.Context(), role, patient(config.Probe{Event: event}), ask))
		require.Equal(t, "Bearer s3cret", sawToken)
	})
	t.Run("an event that is lost fails, and no secret is told", func(t *testing.T) {
		mu.Lock()
		keep = false
		mu.Unlock()
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Name: "otel", Event: event}), ask))
		require.Contains(t, f.Object, "probe otel: await shipit-")
		require.Contains(t, f.Message, "does not hold")
		require.NotContains(t, fmt.Sprint(f), "s3cret")
	})
	t.Run("a place that cannot be reached is named without its secret", func(t *testing.T) {
		lost := &config.Event{Send: config.Request{URL: "http://127.0.0.1:1/?token=${env:PROBE_TOKEN}"}, Await: event.Await}
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Event: lost}), ask))
		require.Contains(t, f.Message, "connection refused")
		require.NotContains(t, fmt.Sprint(f), "s3cret")
	})
	t.Run("an unset variable is named", func(t *testing.T) {
		unset := &config.Event{Send: config.Request{URL: "/events", Headers: map[string]string{"A": "${env:PROBE_GONE}"}}, Await: event.Await}
		f := failure(t, probe.Run(t.Context(), role, quick(config.Probe{Event: unset}), ask))
		require.Contains(t, f.Message, "the environment variable PROBE_GONE is not set")
	})
}

// quick is a probe with a window for tests that wait it out: long enough for one attempt
// on a busy machine.
func quick(p config.Probe) config.Probe {
	p.Within, p.Every = config.Duration(2*time.Second), config.Duration(50*time.Millisecond)
	return p
}

// patient is a probe that succeeds.
func patient(p config.Probe) config.Probe {
	p.Within, p.Every = config.Duration(time.Minute), config.Duration(10*time.Millisecond)
	return p
}

// worker is a role that answers by HTTP on loopback, and the way to ask it.
func worker(t *testing.T, answer http.HandlerFunc) (config.Role, probe.Asker) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(address.Port())
	require.NoError(t, err)
	return config.Role{Name: "cluster", Port: port}, probe.Asker{Addresses: []string{"bus.joelclaw:3111"}, Do: func(_ context.Context, req *http.Request) (*http.Response, error) {
		if req.URL.Host != address.Host {
			return nil, fmt.Errorf("the way to the role was taken for %s", req.URL.Host)
		}
		return server.Client().Do(req)
	}}
}

func failure(t *testing.T, err error) *release.Failure {
	t.Helper()
	var f *release.Failure
	require.ErrorAs(t, err, &f)
	return f
}
