package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

const (
	queueLimit = 1000 // events that wait; further ones are lost
	batchLimit = 100  // events of one delivery
)

// delivery is the body of a request. The last one of a run is final, and has the record
// if there is one.
type delivery struct {
	App         string          `json:"app"`
	Environment string          `json:"environment,omitempty"`
	Command     string          `json:"command"`
	Run         string          `json:"run"`
	Events      []release.Event `json:"events"` // as --events has them, without live figures (mark "step")
	Final       bool            `json:"final,omitempty"`
	Record      *release.Record `json:"record,omitempty"`
}

// webhook is a listener: an address that gets events. What waits is sent together, in
// order, one request at a time.
type webhook struct {
	about   delivery // with all but the events
	name    string   // what may be said of the address
	address string
	key     []byte
	client  *retryablehttp.Client
	why     string // why nothing is sent; "" if something is

	mu     sync.Mutex
	queue  []release.Event
	record *release.Record
	closed bool
	wake   chan struct{} // has room for one: something was queued, or it was closed

	events, lost int // that were to be delivered, and were not
	last         error
	number       int // of deliveries
}

func newWebhook(w config.Webhook, run string, o Options) *webhook {
	h := &webhook{
		about:  delivery{App: o.App, Environment: o.Environment, Command: o.Command, Run: run},
		client: newClient(o), wake: make(chan struct{}, 1),
	}
	address, usable := w.Address(o.getenv)
	secret := o.getenv(w.Secret)
	var err error
	switch h.key, err = keyOf(secret); {
	case !usable:
		h.why = "it is no https address"
	case secret == "":
		h.why = fmt.Sprintf("%s is not set, and unsigned events are not sent", w.Secret)
	case err != nil:
		h.why = fmt.Sprintf("%s: %s", w.Secret, err)
	}
	h.address, h.name = address, w.URL
	if u, err := url.Parse(address); usable && err == nil {
		h.name = u.Host
	}
	return h
}

func (h *webhook) event(e release.Event) {
	if e.Mark == release.MarkStep {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events++
	if h.closed || len(h.queue) == queueLimit {
		h.lost++
		return
	}
	h.queue = append(h.queue, e)
	h.signal()
}

func (h *webhook) begun(release.Record) {}

func (h *webhook) ended(r release.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record = &r
}

func (h *webhook) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.signal()
}

// signal wakes run. The mutex is held.
func (h *webhook) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// next takes what waits: the delivery, whether it is one, and whether it is the last.
func (h *webhook) next() (d delivery, some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.queue), batchLimit)
	d = h.about
	d.Events = append([]release.Event{}, h.queue[:n]...)
	h.queue = h.queue[n:]
	if h.closed && len(h.queue) == 0 {
		d.Final, d.Record = true, h.record
	}
	return d, n > 0 || d.Final
}

func (h *webhook) run(ctx context.Context) {
	for {
		d, some := h.next()
		if !some {
			<-h.wake // close always comes
			continue
		}
		if h.why == "" {
			h.send(ctx, d)
		} else {
			h.lose(d, errors.New(h.why))
		}
		if d.Final {
			return
		}
	}
}

// send delivers, or counts what was lost.
func (h *webhook) send(ctx context.Context, d delivery) {
	h.number++
	body, err := json.Marshal(d)
	if err != nil {
		h.lose(d, err)
		return
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, h.address, body)
	if err != nil {
		h.lose(d, errors.New("the address cannot be read"))
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "shipit")
	req.Header.Set(headerID, fmt.Sprintf("%s_%d", d.Run, h.number))
	sign(req.Header, h.key, body, time.Now())
	h.client.PrepareRetry = func(again *http.Request) error {
		again.Header = again.Header.Clone() // the attempt before has the other one, and may still read it
		sign(again.Header, h.key, body, time.Now())
		return nil
	}
	_, err = send(h.client, req)
	var answer *statusError
	if errors.As(err, &answer) && answer.status == http.StatusGone { // it wants nothing any more
		h.why = answer.Error()
	}
	if err != nil {
		h.lose(d, err)
	}
}

func (h *webhook) lose(d delivery, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost += len(d.Events)
	h.last = err
}

func (h *webhook) missed() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == 0 && h.last == nil {
		return ""
	}
	what, why := fmt.Sprintf("%d of %d events were", h.lost, h.events), "it takes them too slowly"
	if h.lost == 0 {
		what = "how the run ended was"
	}
	if h.last != nil {
		why = release.OneLine(h.last.Error())
	}
	return fmt.Sprintf("webhook %s: %s not delivered: %s", h.name, what, why)
}
