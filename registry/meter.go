package registry

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/joelhooks/shipit/release"
)

// meter adds up the bytes that all uploads of an artifact send, and reports them at
// most four times a second.
type meter struct {
	progress release.Progress
	total    int64

	mu   sync.Mutex
	sent int64
	last time.Time
}

func (m *meter) add(n int64) {
	if m.progress == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent += n
	if now := time.Now(); now.Sub(m.last) >= 250*time.Millisecond || m.sent == m.total {
		m.last = now
		m.progress.Report(release.Event{
			Phase: release.PhasePush, Mark: release.MarkStep,
			Message: fmt.Sprintf("%.1f of %.1f MB", float64(m.sent)/1e6, float64(m.total)/1e6),
		})
	}
}

// counted counts the bytes that are read from a blob to be sent.
type counted struct {
	io.ReadCloser
	upload *upload
	closed atomic.Bool
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if !r.closed.Load() {
		r.upload.count(int64(n))
		if err != nil && err != io.EOF {
			r.upload.fail(err)
		}
	}
	return n, err
}

func (r *counted) Close() error {
	r.closed.Store(true)
	return r.ReadCloser.Close()
}

func (u *upload) count(n int64) {
	u.mu.Lock()
	u.sent += n
	u.mu.Unlock()
	u.meter.add(n)
}

// rewind sets the count of sent bytes to offset, where sending starts again.
func (u *upload) rewind(offset int64) {
	u.mu.Lock()
	back := offset - u.sent
	u.unread = nil
	u.mu.Unlock()
	u.count(back)
}

func (u *upload) fail(err error) {
	u.mu.Lock()
	u.unread = err
	u.mu.Unlock()
}

func (u *upload) unreadable() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.unread
}
