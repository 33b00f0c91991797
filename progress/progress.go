// Package progress shows the events of a run while it runs: lines for people, on a
// terminal with colors and with what is under way drawn below them, and JSON lines for
// programs.
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/joelhooks/shipit/live"
	"github.com/joelhooks/shipit/release"
)

// Reporter writes events as lines for people and, if asked to, as JSON lines.
// It is safe for use by several goroutines.
type Reporter struct {
	mu     sync.Mutex
	follow func(release.Event)  // nil: nobody does
	events io.WriteCloser       // nil: none wanted
	began  map[string]time.Time // start of each phase, role and image that is not done yet
	lines  lines
}

// lines writes events as lines. On a terminal, what is under way is drawn below them:
// its line is printed when it has ended.
type lines struct {
	w         io.Writer
	terminal  bool
	color     bool
	screen    *live.Screen // nil before the first step on a terminal
	lastStep  string       // the last step printed where w is not a terminal; not repeated
	printedAt time.Time    // when the last line was printed
}

// New reports to w and appends events to the file at events; "" for none. Close ends it.
func New(w io.Writer, events string) (*Reporter, error) {
	r := &Reporter{began: map[string]time.Time{}, lines: lines{w: w}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		r.lines.terminal = true
		r.lines.color = os.Getenv("NO_COLOR") == ""
	}
	if events == "" {
		return r, nil
	}
	f, err := os.OpenFile(events, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	r.events = f
	return r, nil
}

// Close takes away what was drawn of unfinished steps and closes the events file.
func (r *Reporter) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines.closeScreen()
	if r.events == nil {
		return nil
	}
	return r.events.Close()
}

// Follow also gives every event to f, as it is written to the file of events.
func (r *Reporter) Follow(f func(release.Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follow = f
}

// Report is a release.Progress.
func (r *Reporter) Report(e release.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At, e.Message = time.Now().UTC(), release.Visible(e.Message)
	key := string(e.Phase) + "/" + e.Role + "/" + e.Image
	switch e.Mark {
	case release.MarkStart:
		r.began[key] = e.At
	case release.MarkDone:
		if began, ok := r.began[key]; ok && e.Took == 0 {
			e.Took = e.At.Sub(began)
		}
	}
	if r.follow != nil {
		r.follow(e)
	}
	if r.events != nil {
		// An error, such as a full disk, must not stop a rollout.
		_ = json.NewEncoder(r.events).Encode(e)
	}
	if r.lines.terminal {
		since, known := r.began[key]
		if !known {
			since = e.At
		}
		r.lines.draw(e, key, since)
	} else {
		r.lines.print(e)
	}
	if e.Mark == release.MarkDone {
		delete(r.began, key)
	}
}

// signs begin the lines.
func signs() map[release.Mark]string {
	return map[release.Mark]string{
		release.MarkStart: "→", release.MarkStep: "…", release.MarkDone: "✓", release.MarkFail: "✗", release.MarkNote: "·",
	}
}

// colors are the escape sequences of the signs that have a color.
func colors() map[release.Mark]string {
	return map[release.Mark]string{release.MarkDone: "\x1b[32m", release.MarkFail: "\x1b[31m", release.MarkNote: "\x1b[33m"}
}

// draw shows an event on a terminal.
func (p *lines) draw(e release.Event, key string, since time.Time) {
	if p.screen == nil {
		p.screen = live.Open(p.w)
	}
	switch e.Mark {
	case release.MarkStart, release.MarkStep:
		if e.Message != "" {
			p.screen.Step(key, eventText(e), since)
		}
		return
	case release.MarkDone, release.MarkFail:
		p.screen.Drop(key)
	}
	p.screen.Print(p.sign(e.Mark) + " " + eventText(e))
}

// sign is how a line begins.
func (p *lines) sign(mark release.Mark) string {
	sign := signs()[mark]
	if c := colors()[mark]; p.color && c != "" {
		sign = c + sign + "\x1b[0m"
	}
	return sign
}

// print writes an event as a line. A step that comes soon after a line is left out.
func (p *lines) print(e release.Event) {
	line := eventText(e)
	if e.Mark == release.MarkStep {
		if e.Message == "" || line == p.lastStep || e.At.Sub(p.printedAt) < stepInterval {
			return
		}
		p.lastStep = line
	}
	p.printedAt = e.At
	fmt.Fprintf(p.w, "%s %s\n", p.sign(e.Mark), line)
}

// stepInterval is the least time between a line and a step printed after it, where
// the output is not a terminal.
const stepInterval = 2 * time.Second

func eventText(e release.Event) string {
	var b strings.Builder
	if e.Role != "" {
		b.WriteString(e.Role + " ")
	}
	// Lines of several images come in any order; one that names its image is left as it is.
	if e.Image != "" && (e.Mark == release.MarkStep || !slices.Contains(strings.Fields(strings.ReplaceAll(e.Message, ":", " ")), e.Image)) {
		b.WriteString(e.Image + ": ")
	}
	if e.Code != "" {
		b.WriteString(string(e.Code)) // the record tells the rest
	} else {
		b.WriteString(e.Message)
	}
	if e.Desired > 0 {
		fmt.Fprintf(&b, " %d/%d", e.Ready, e.Desired)
	}
	if e.Mark == release.MarkDone && e.Took >= 10*time.Millisecond {
		fmt.Fprintf(&b, " (%s)", release.Took(e.Took))
	}
	return b.String()
}

func (p *lines) closeScreen() {
	if p.screen != nil {
		p.screen.Close()
		p.screen = nil
	}
}
