// Package faults is an HTTP proxy for tests: it stands between a client and a
// registry or an API server, and answers some requests as a server in trouble
// does.
package faults

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to a request in place of its answer.
type Fault string

const (
	// TooMany is 429 with a Retry-After of one second.
	TooMany Fault = "429"
	// Internal is 500 without words.
	Internal Fault = "500"
	// BadGateway is 502 with the HTML page of a load balancer.
	BadGateway Fault = "502"
	// Conflict is 409.
	Conflict Fault = "409"
	// Gone is 410.
	Gone Fault = "410"
	// Cut ends the connection in the middle of the body.
	Cut Fault = "cut"
	// Altered is the right answer with one byte of its body changed: what is
	// addressed by digest has another digest.
	Altered Fault = "altered"
	// Silence takes the request and never answers.
	Silence Fault = "silence"
	// Trickle sends the body at one byte each half second.
	Trickle Fault = "trickle"
	// Hangup ends the connection without an answer.
	Hangup Fault = "hangup"
)

// Rule says which requests have a fault.
type Rule struct {
	Fault Fault
	// Match picks requests; nil picks all.
	Match func(*http.Request) bool
	// After lets this many requests that match pass first.
	After int
	// Every makes each Every-th of them fail, from then on; 0 makes all fail.
	Every int
}

// Proxy is a server before a server.
type Proxy struct {
	// URL is where it listens.
	URL string

	mu    sync.Mutex
	rule  *Rule
	seen  int
	count int
	ended chan struct{}
}

// New is a proxy before the server at target, until the test ends. transport
// reaches that server; nil is http.DefaultTransport.
func New(t testing.TB, target string, transport http.RoundTripper) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{ended: make(chan struct{})}
	forward := &httputil.ReverseProxy{
		Transport:      transport,
		FlushInterval:  -1, // watches are streams
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: p.spoil,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	p.URL = server.URL
	t.Cleanup(func() {
		close(p.ended)
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// Have makes requests fail by a rule from now on; nil heals the server.
func (p *Proxy) Have(r *Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule, p.seen, p.count = r, 0, 0
}

// Faults says how many requests have failed since the rule was set.
func (p *Proxy) Faults() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// fault is what is to happen to a request; empty is nothing.
func (p *Proxy) fault(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rule == nil || p.rule.Match != nil && !p.rule.Match(r) {
		return ""
	}
	p.seen++
	late := p.seen - p.rule.After
	if late <= 0 || p.rule.Every > 0 && late%p.rule.Every != 0 {
		return ""
	}
	p.count++
	return p.rule.Fault
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	f := p.fault(r)
	switch f {
	case TooMany, Internal, BadGateway, Conflict, Gone:
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, f)
	case Silence:
		select {
		case <-r.Context().Done():
		case <-p.ended:
		}
	case Hangup:
		panic(http.ErrAbortHandler)
	case Cut, Altered, Trickle:
		r.Header.Set(spoiled, string(f))
		r.Header.Del("Accept-Encoding") // of the plain body, so that a changed byte arrives
		forward.ServeHTTP(w, r)
	default:
		forward.ServeHTTP(w, r)
	}
}

func answer(w http.ResponseWriter, f Fault) {
	code, _ := strconv.Atoi(string(f))
	switch f {
	case TooMany:
		w.Header().Set("Retry-After", "1")
	case BadGateway:
		w.Header().Set("Content-Type", "text/html")
	}
	w.WriteHeader(code)
	if f == BadGateway {
		_, _ = io.WriteString(w, "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n")
	}
}

// spoiled is the header by which serve tells spoil what to do.
const spoiled = "X-Test-Spoiled"

// spoil cuts, changes or slows the body of an answer.
func (p *Proxy) spoil(res *http.Response) error {
	switch Fault(res.Request.Header.Get(spoiled)) {
	case Cut:
		res.Body = body{io.MultiReader(io.LimitReader(res.Body, max(1, res.ContentLength/2)), broken{}), res.Body}
	case Altered:
		data, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			data[len(data)/2] ^= 1
		}
		res.Body = body{bytes.NewReader(data), res.Body}
	case Trickle:
		res.Body = body{&trickle{from: res.Body, ended: p.ended, done: res.Request.Context().Done()}, res.Body}
	}
	return nil
}

type body struct {
	io.Reader
	io.Closer
}

// broken is a body that ends too early.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// trickle is a body that comes one byte each half second.
type trickle struct {
	from        io.Reader
	ended, done <-chan struct{}
}

func (s *trickle) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	select {
	case <-s.done:
		return 0, io.ErrUnexpectedEOF
	case <-s.ended:
		return 0, io.ErrUnexpectedEOF
	case <-time.After(500 * time.Millisecond):
		return s.from.Read(p[:1])
	}
}
