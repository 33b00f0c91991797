package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"dagger.io/dagger/engineconn"
	"go.opentelemetry.io/otel/trace"
)

// told is what an engine tells of its work while it works: the spans of a session, and
// what commands print in them. A session that does not offer it tells nothing.
type told struct {
	mu      sync.Mutex
	changed chan struct{}      // closed, and another one, whenever something was told
	streams int                // that are open
	parents map[string]string  // of spans
	early   map[string][]entry // of spans whose parents are not known yet
	runs    map[string]*run    // by the spans that they were asked for in
}

// entry is one piece of a command's output, or the end of one of its two streams.
type entry struct {
	stream, text string
	end          bool
}

// follow reads what the session tells until ctx is done. It returns when it is known
// whether the session tells anything, or limited is done.
func follow(ctx, limited context.Context, conn engineconn.EngineConn) *told {
	t := &told{changed: make(chan struct{}), parents: map[string]string{}, early: map[string][]entry{}, runs: map[string]*run{}}
	var asked sync.WaitGroup
	for path, take := range map[string]func([]byte){"/v1/traces": t.spans, "/v1/logs": t.logs} {
		asked.Add(1)
		go t.read(ctx, conn, path, take, asked.Done)
	}
	known := make(chan struct{})
	go func() {
		asked.Wait()
		close(known)
	}()
	select {
	case <-known:
	case <-limited.Done():
	}
	return t
}

// read reads one stream of events, as web servers send them.
func (t *told) read(ctx context.Context, conn engineconn.EngineConn, path string, take func([]byte), asked func()) {
	resp, err := ask(ctx, conn, path)
	if err != nil {
		asked()
		return
	}
	defer resp.Body.Close()
	t.change(func() { t.streams++ })
	asked()
	defer t.change(func() { t.streams-- })
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			take(data)
		}
	}
}

// ask asks for a stream of events.
func ask(ctx context.Context, conn engineconn.EngineConn, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+conn.Host()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := conn.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return resp, nil
}

// change calls fn alone, and wakes who waits for a change.
func (t *told) change(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn()
	close(t.changed)
	t.changed = make(chan struct{})
}

// attribute is a value of a span or an entry. Those that are read are of these types.
type attribute struct {
	Key   string `json:"key"`
	Value struct {
		Bool   bool   `json:"boolValue"`
		Int    string `json:"intValue"`
		String string `json:"stringValue"`
		Array  struct {
			Values []struct {
				String string `json:"stringValue"`
			} `json:"values"`
		} `json:"arrayValue"`
	} `json:"value"`
}

// span is a span as an engine tells it, when it begins and when it ends.
type span struct {
	ID         string      `json:"spanId"`
	Parent     string      `json:"parentSpanId"`
	Name       string      `json:"name"`
	Began      uint64      `json:"startTimeUnixNano,string"`
	Ended      uint64      `json:"endTimeUnixNano,string"` // before Began, or after all times, until then
	Attributes []attribute `json:"attributes"`
}

// took is how long it took, if it has ended.
func (s span) took() (took time.Duration, ended bool) {
	if s.Ended < s.Began || s.Ended > 1<<63 {
		return 0, false
	}
	return time.Duration(s.Ended - s.Began), true //nolint:gosec // less than 2^63
}

func (s span) attribute(key string) (found attribute) {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a
		}
	}
	return found
}

// spans takes spans; it is called with one message at a time.
func (t *told) spans(data []byte) {
	var message struct {
		Resources []struct {
			Scopes []struct {
				Spans []span `json:"spans"`
			} `json:"scopeSpans"`
		} `json:"resourceSpans"`
	}
	if json.Unmarshal(data, &message) != nil {
		return // another version tells it otherwise: the output is asked for after each command
	}
	t.change(func() {
		for _, r := range message.Resources {
			for _, s := range r.Scopes {
				for _, one := range s.Spans {
					t.parents[one.ID] = one.Parent
					if found := t.run(one.ID); found != nil {
						found.span(one)
					}
				}
			}
		}
		for id, entries := range t.early {
			if found := t.run(id); found != nil {
				delete(t.early, id)
				for _, e := range entries {
					found.entry(e)
				}
			}
		}
	})
}

// run is the command in whose span the span is; nil if it is in none.
func (t *told) run(id string) *run {
	for range 100 { // or it is a circle
		if found := t.runs[id]; found != nil || id == "" {
			return found
		}
		id = t.parents[id]
	}
	return nil
}

// logs takes what commands print.
func (t *told) logs(data []byte) {
	var message struct {
		Resources []struct {
			Scopes []struct {
				Records []struct {
					Span string `json:"spanId"`
					Body struct {
						Text string `json:"stringValue"`
					} `json:"body"`
					Attributes []attribute `json:"attributes"`
				} `json:"logRecords"`
			} `json:"scopeLogs"`
		} `json:"resourceLogs"`
	}
	if json.Unmarshal(data, &message) != nil {
		return
	}
	t.change(func() {
		for _, r := range message.Resources {
			for _, s := range r.Scopes {
				for _, one := range s.Records {
					e := entry{text: one.Body.Text}
					verbose := false
					for _, a := range one.Attributes {
						switch a.Key {
						case "stdio.stream":
							e.stream = a.Value.Int
						case "stdio.eof":
							e.end = a.Value.Bool
						case "dagger.io/logs.verbose": // the engine's own
							verbose = a.Value.Bool
						}
					}
					if e.stream == "" || verbose {
						continue
					}
					t.entry(one.Span, e)
				}
			}
		}
	})
}

// earlyLimit is how many entries are kept whose spans are in no command: those of services
// will never be.
const earlyLimit = 1000

func (t *told) entry(id string, e entry) {
	if found := t.run(id); found != nil {
		found.entry(e)
	} else if len(t.early[id]) < earlyLimit {
		t.early[id] = append(t.early[id], e)
	}
}

// key is how an engine writes the id of a span.
func key(id trace.SpanID) string { return base64.StdEncoding.EncodeToString(id[:]) }

// lines are the whole lines of an output that comes in pieces; rest is what has no end
// yet. A program that draws over its line has one for each time that it does.
func lines(text string) (whole []string, rest string) {
	for {
		at := strings.IndexAny(text, "\n\r")
		if at < 0 {
			return whole, text
		}
		if at > 0 {
			whole = append(whole, text[:at])
		}
		text = text[at+1:]
	}
}
