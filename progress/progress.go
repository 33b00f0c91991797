// Package progress shows the events of a run while it runs: lines for people, on a
// terminal with colors and steps that overwrite each other, and JSON lines for programs.
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/joelhooks/shipit/release"
)

// Reporter writes events as lines for people and, if asked to, as JSON lines.
// It is safe for use by several goroutines.
type Reporter struct {
	mu     sync.Mutex
	events io.WriteCloser       // nil: none wanted
	began  map[string]time.Time // start of each phase and role that is not done yet
	lines  lines
}

// lines writes events as lines. On a terminal, a step overwrites the line of
// the step before it.
type lines struct {
	w         io.Writer
	terminal  bool
	color     bool
	open      bool      // the last line is a step that the next line overwrites
	lastStep  string    // the last step printed where w is not a terminal; not repeated
	printedAt time.Time // when the last line was printed
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

// Close clears an unfinished line and closes the events file.
func (r *Reporter) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines.clearOpen()
	if r.events == nil {
		return nil
	}
	return r.events.Close()
}

// Report is a release.Progress.
func (r *Reporter) Report(e release.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At, e.Message = time.Now().UTC(), release.Visible(e.Message)
	key := string(e.Phase) + "/" + e.Role
	switch e.Mark {
	case release.MarkStart:
		r.began[key] = e.At
	case release.MarkDone:
		if began, ok := r.began[key]; ok && e.Took == 0 {
			e.Took = e.At.Sub(began)
		}
		delete(r.began, key)
	}
	if r.events != nil {
		// An error, such as a full disk, must not stop a rollout.
		_ = json.NewEncoder(r.events).Encode(e)
	}
	r.lines.print(e)
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

func (p *lines) print(e release.Event) {
	line := eventText(e)
	if e.Mark == release.MarkStep && e.Message == "" {
		return // a step without a message is only for --events
	}
	if e.Mark == release.MarkStep {
		if p.terminal {
			fmt.Fprintf(p.w, "\r\x1b[K%s %s", signs()[e.Mark], line)
			p.open = true
		} else if line != p.lastStep && e.At.Sub(p.printedAt) >= stepInterval {
			fmt.Fprintf(p.w, "%s %s\n", signs()[e.Mark], line)
			p.lastStep, p.printedAt = line, e.At
		}
		return
	}
	p.clearOpen()
	p.printedAt = e.At
	sign := signs()[e.Mark]
	if c := colors()[e.Mark]; p.color && c != "" {
		sign = c + sign + "\x1b[0m"
	}
	fmt.Fprintf(p.w, "%s %s\n", sign, line)
}

// stepInterval is the least time between a line and a step printed after it, where
// the output is not a terminal.
const stepInterval = 2 * time.Second

func eventText(e release.Event) string {
	var b strings.Builder
	if e.Role != "" {
		b.WriteString(e.Role + " ")
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

func (p *lines) clearOpen() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}
