// Package notify tells others of a run while it goes on: webhooks get its events, GitHub a
// deployment and a status of the commit. Whoever does not listen delays nothing and fails
// nothing; what could not be delivered is said at the end.
package notify

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Options are what is told, and by what means.
type Options struct {
	Config      config.Notify
	App         string
	Environment string
	Command     string        // release, rollback or promote
	Source      string        // where the configuration says that the sources are; "" if it does not
	Origin      func() string // the URL of the clone's remote "origin", "" if it has none; asked where nothing else names a repository at GitHub; nil: there is none

	grace     time.Duration       // how long Close waits for what is under way; default 10 s
	getenv    func(string) string // default os.Getenv
	transport http.RoundTripper   // default one of its own
	wait      time.Duration       // before the first retry; default 500 ms
}

// defaultGrace is how long the end of a command waits for those who do not answer.
const defaultGrace = 10 * time.Second

// Notifier tells others of one run. A nil Notifier tells nobody.
type Notifier struct {
	listeners []listener
	grace     time.Duration
	stop      context.CancelFunc
	running   sync.WaitGroup
	closing   sync.Once
}

// listener is one who is told. Its methods but run never wait.
type listener interface {
	event(release.Event)
	begun(release.Record)
	ended(release.Record)
	// close says that nothing more comes.
	close()
	// run delivers until everything is, or ctx ends, after close.
	run(ctx context.Context)
	// missed is what could not be delivered, in words; "" if everything was. It is
	// called after run.
	missed() string
}

// Open begins to tell those whom the configuration names.
func Open(o Options) *Notifier {
	if o.getenv == nil {
		o.getenv = os.Getenv
	}
	o.grace, o.wait = cmp.Or(o.grace, defaultGrace), cmp.Or(o.wait, 500*time.Millisecond)
	n := &Notifier{grace: o.grace}
	run := newRun()
	for _, w := range o.Config.Webhooks {
		n.listeners = append(n.listeners, newWebhook(w, run, o))
	}
	if g := newGitHub(o); g != nil {
		n.listeners = append(n.listeners, g)
	}
	// What is under way is delivered even when the command is interrupted.
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	for _, l := range n.listeners {
		n.running.Go(func() { l.run(ctx) })
	}
	return n
}

// Event tells of an event. It does not wait.
func (n *Notifier) Event(e release.Event) {
	n.each(func(l listener) { l.event(e) })
}

// Begun tells that a record is pending and the first change is about to be made. It does
// not wait.
func (n *Notifier) Begun(r release.Record) {
	n.each(func(l listener) { l.begun(r) })
}

// Ended tells how the run has ended. It does not wait.
func (n *Notifier) Ended(r release.Record) {
	n.each(func(l listener) { l.ended(r) })
}

func (n *Notifier) each(tell func(listener)) {
	if n == nil {
		return
	}
	for _, l := range n.listeners {
		tell(l)
	}
}

// Close waits for what is under way, for at most the grace period, and returns what could
// not be delivered, a line for each who was to be told.
func (n *Notifier) Close() []string {
	if n == nil {
		return nil
	}
	n.closing.Do(func() {
		n.each(listener.close)
		timer := time.AfterFunc(n.grace, n.stop)
		n.running.Wait()
		timer.Stop()
		n.stop()
	})
	var missed []string
	n.each(func(l listener) {
		if line := l.missed(); line != "" {
			missed = append(missed, line)
		}
	})
	return missed
}
