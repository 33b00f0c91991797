package pipeline

import (
	"cmp"
	"sync"
	"time"

	"github.com/joelhooks/shipit/release"
)

// silenceLimit is after how long something that prints nothing is named.
const silenceLimit = 30 * time.Second

// silence names what has printed nothing for a while, and again each time that it
// has printed nothing for as long. The zero value waits for nothing.
type silence struct {
	opts Options

	mu    sync.Mutex
	timer *time.Timer // nil unless something runs
	since time.Time
}

func (s *silence) limit() time.Duration { return cmp.Or(s.opts.silence, silenceLimit) }

// start begins to wait for what is named, the subject of the sentence.
func (s *silence) start(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
	s.timer = time.AfterFunc(s.limit(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer == nil {
			return
		}
		if quiet := time.Since(s.since).Truncate(s.limit()); quiet > 0 { // or it was heard while this waited for the lock
			s.opts.report(release.MarkNote, "%s has printed nothing for %s; what waits for the network may lack a proxy (HTTPS_PROXY) or a certificate (NODE_EXTRA_CA_CERTS)", name, quiet)
		}
		s.timer.Reset(s.limit())
	})
}

// heard is called for every line.
func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.since = time.Now()
		s.timer.Reset(s.limit())
	}
}

// end ends what start began.
func (s *silence) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
