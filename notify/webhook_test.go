package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// request is one attempt that a receiver got.
type request struct {
	header http.Header
	body   []byte
}

// receiver is a server that gets webhooks. answer is what it answers; nil: 204.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	s := &receiver{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, request{r.Header.Clone(), body})
		n := len(s.got)
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(n, w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *receiver) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request{}, s.got...)
}

// verified checks an attempt as a library of Standard Webhooks does.
func verified(t *testing.T, r request, secret string) delivery {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if !strings.HasPrefix(secret, "whsec_") {
		key, err = []byte(secret), nil
	}
	require.NoError(t, err)
	seconds, err := strconv.ParseInt(r.header.Get("webhook-timestamp"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), time.Minute)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.header.Get("webhook-id") + "." + r.header.Get("webhook-timestamp") + "." + string(r.body)))
	require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), r.header.Get("webhook-signature"))
	var d delivery
	require.NoError(t, json.Unmarshal(r.body, &d))
	return d
}

func options(address string, env map[string]string) Options {
	if env == nil {
		env = map[string]string{"HOOK_SECRET": secret}
	}
	return Options{
		Config: config.Notify{Webhooks: []config.Webhook{{URL: address, Secret: "HOOK_SECRET"}}},
		App:    "bus", Environment: "staging", Command: "release", grace: time.Minute,
		getenv: func(name string) string { return env[name] }, wait: time.Millisecond,
	}
}

func note(text string) release.Event {
	return release.Event{Phase: release.PhaseCheck, Mark: release.MarkNote, Message: text}
}

func TestAWebhookGetsTheEventsInOrderSignedAndTheRecord(t *testing.T) {
	for _, secret := range []string{secret, "no Standard Webhooks secret"} {
		t.Run(secret, func(t *testing.T) {
			queued := make(chan struct{})
			s := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				<-queued
				w.WriteHeader(http.StatusNoContent)
			})
			n := Open(options(s.URL+"/hook", map[string]string{"HOOK_SECRET": secret}))
			want := []string{}
			for i := range 250 {
				want = append(want, fmt.Sprint(i))
				n.Event(note(want[i]))
				n.Event(release.Event{Phase: release.PhaseWait, Mark: release.MarkStep, Message: "a live figure"})
			}
			close(queued)
			n.Ended(release.Record{App: "bus", Seq: 7, Outcome: release.Settled, Parity: true})
			require.Empty(t, n.Close())

			var got []string
			ids := map[string]bool{}
			all := s.requests()
			require.Less(t, len(all), 250, "what waits is sent together")
			for i, r := range all {
				d := verified(t, r, secret)
				ids[r.header.Get("webhook-id")] = true
				require.Equal(t, "bus staging release", d.App+" "+d.Environment+" "+d.Command)
				require.Equal(t, i == len(all)-1, d.Final)
				require.Equal(t, d.Final, d.Record != nil)
				for _, e := range d.Events {
					got = append(got, e.Message)
				}
			}
			require.Equal(t, want, got)
			require.Len(t, ids, len(all), "each delivery has an id of its own")
			var last delivery
			require.NoError(t, json.Unmarshal(all[len(all)-1].body, &last))
			require.EqualValues(t, 7, last.Record.Seq)
		})
	}
}

func TestADeliveryIsRetried(t *testing.T) {
	s := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	n := Open(options(s.URL, nil))
	n.Event(note("one"))
	require.Empty(t, n.Close())
	all := s.requests()
	for _, r := range all[:3] {
		verified(t, r, secret)
		require.Equal(t, all[0].header.Get("webhook-id"), r.header.Get("webhook-id"), "the id says that it is the same delivery")
		require.Equal(t, all[0].body, r.body)
	}
	require.Less(t, all[1].header.Get("webhook-timestamp"), all[2].header.Get("webhook-timestamp"), "each attempt has its own time: receivers refuse an old one")
}

// The transport may still read the header of an attempt that was given up.
func TestAnAttemptKeepsItsHeader(t *testing.T) {
	s := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("Retry-After", "1") // so that the next attempt is signed at another time
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	sent := &sender{}
	o := options(s.URL, nil)
	o.transport = sent
	n := Open(o)
	n.Event(note("one"))
	require.Empty(t, n.Close())
	require.GreaterOrEqual(t, len(sent.headers), 2)
	require.Equal(t, s.requests()[0].header.Get(headerTimestamp), sent.headers[0].Get(headerTimestamp))
	require.Equal(t, s.requests()[0].header.Get(headerSignature), sent.headers[0].Get(headerSignature))
}

// sender is a transport that keeps the headers of all attempts, as they are and no copies.
type sender struct{ headers []http.Header }

func (s *sender) RoundTrip(r *http.Request) (*http.Response, error) {
	s.headers = append(s.headers, r.Header)
	return http.DefaultTransport.RoundTrip(r)
}

func TestNobodyIsWaitedForLongerThanTheGracePeriod(t *testing.T) {
	release := make(chan struct{})
	s := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	o := options(s.URL+"/services/T0/secret-path", nil)
	o.grace = 100 * time.Millisecond
	n := Open(o)
	n.Event(note("x"))
	require.Eventually(t, func() bool { return len(s.requests()) == 1 }, time.Minute, time.Millisecond)
	began := time.Now()
	for range 3*queueLimit - 1 {
		n.Event(note("x"))
	}
	require.Less(t, time.Since(began), attempts*attemptLimit, "an event never waits")
	hook := n.listeners[0].(*webhook)
	hook.mu.Lock()
	require.Len(t, hook.queue, queueLimit, "what waits is bounded")
	hook.mu.Unlock()
	missed := n.Close()
	require.Less(t, time.Since(began), attempts*attemptLimit, "nor does the end")
	host := strings.TrimPrefix(s.URL, "http://")
	require.Equal(t, []string{"webhook " + host + ": 3000 of 3000 events were not delivered: no answer before the command ended"}, missed)
}

func TestWhatIsNotDeliveredIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name     string
		answer   func(n int, w http.ResponseWriter, r *http.Request)
		attempts int
		says     string
	}{
		{"a refusal is not retried", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, 1, "1 of 1 events were not delivered: 401 Unauthorized"},
		{"an outage is, and then given up", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, attempts, "1 of 1 events were not delivered: 502 Bad Gateway"},
		{"a redirect is not followed", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 1, "1 of 1 events were not delivered: 307 Temporary Redirect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newReceiver(t, tc.answer)
			n := Open(options(s.URL+"/secret-path", nil))
			n.Event(note("one"))
			n.each(listener.close) // so that it is one delivery
			missed := n.Close()
			require.Len(t, missed, 1)
			require.Contains(t, missed[0], tc.says)
			require.NotContains(t, missed[0], "secret-path", "the address may be secret")
			require.GreaterOrEqual(t, len(s.requests()), tc.attempts)
			require.LessOrEqual(t, len(s.requests()), 2*tc.attempts, "two deliveries at most: the event, and that the run has ended")
		})
	}
	t.Run("one that is gone gets nothing more", func(t *testing.T) {
		s := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
		n := Open(options(s.URL, nil))
		n.Event(note("one"))
		require.Eventually(t, func() bool { return len(s.requests()) == 1 }, time.Minute, time.Millisecond)
		n.Event(note("two"))
		require.Contains(t, n.Close()[0], "2 of 2 events were not delivered: 410 Gone")
		require.Len(t, s.requests(), 1)
	})
	t.Run("nobody is there", func(t *testing.T) {
		s := newReceiver(t, nil)
		s.Close()
		n := Open(options(s.URL+"/secret-path", nil))
		n.Event(note("one"))
		missed := n.Close()
		require.Contains(t, missed[0], "connection refused")
		require.NotContains(t, missed[0], "secret-path")
	})
	for _, tc := range []struct {
		name, says string
		env        map[string]string
		url        string
	}{
		{"a secret that is not set", "HOOK_SECRET is not set, and unsigned events are not sent", map[string]string{}, ""},
		{"a secret that is not what it says", "HOOK_SECRET: what follows whsec_ is no base64", map[string]string{"HOOK_SECRET": "whsec_!"}, ""},
		{"an address in the environment that is none", "webhook env:HOOK: 1 of 1 events were not delivered: it is no https address", map[string]string{"HOOK_SECRET": "x", "HOOK": "ftp://secret-path"}, "env:HOOK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newReceiver(t, nil)
			address := tc.url
			if address == "" {
				address = s.URL
			}
			n := Open(options(address, tc.env))
			n.Event(note("one"))
			missed := n.Close()
			require.Contains(t, missed[0], tc.says)
			require.NotContains(t, missed[0], "secret-path")
			require.Empty(t, s.requests())
		})
	}
	t.Run("an address in the environment", func(t *testing.T) {
		s := newReceiver(t, nil)
		n := Open(options("env:HOOK", map[string]string{"HOOK_SECRET": secret, "HOOK": s.URL}))
		n.Event(note("one"))
		require.Empty(t, n.Close())
		require.NotEmpty(t, s.requests())
	})
}

func TestNobodyIsToldWithoutAConfiguration(t *testing.T) {
	var none *Notifier
	none.Event(note("x"))
	none.Begun(release.Record{})
	none.Ended(release.Record{})
	require.Empty(t, none.Close())
	require.Empty(t, Open(Options{getenv: func(string) string { return "" }}).listeners)
}
