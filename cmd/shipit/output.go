package main

import (
	"bytes"
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

// reporter turns events into lines for people and, if asked, into JSON lines.
// It is safe for use by several goroutines.
type reporter struct {
	mu     sync.Mutex
	err    io.Writer
	events io.WriteCloser // nil: none wanted
	live   bool           // a terminal that can overwrite its last line
	color  bool
	open   bool      // the last line is a live one, not yet ended
	last   string    // the last step printed plainly, so that it is not repeated
	told   time.Time // when the last line was printed
	began  map[string]time.Time
}

func newReporter(g *globals) (*reporter, error) {
	r := &reporter{err: g.term.err, began: map[string]time.Time{}}
	if f, ok := g.term.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		r.live = true
		r.color = os.Getenv("NO_COLOR") == ""
	}
	if g.events == "" {
		return r, nil
	}
	f, err := os.OpenFile(g.events, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("--events: %v", err)}
	}
	r.events = f
	return r, nil
}

// Close ends a live line and the events file.
func (r *reporter) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLine()
	if r.events == nil {
		return nil
	}
	return r.events.Close()
}

// report is a release.Progress.
func (r *reporter) report(e release.Event) {
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
		// A full disk must not stop a rollout: progress is for watching.
		_ = json.NewEncoder(r.events).Encode(e)
	}
	r.print(e)
}

var signs = map[release.Mark]string{
	release.MarkStart: "→", release.MarkStep: "…", release.MarkDone: "✓", release.MarkFail: "✗", release.MarkNote: "·",
}

var colors = map[release.Mark]string{release.MarkDone: "\x1b[32m", release.MarkFail: "\x1b[31m", release.MarkNote: "\x1b[33m"}

func (r *reporter) print(e release.Event) {
	line := eventText(e)
	if e.Mark == release.MarkStep && e.Message == "" {
		return // a figure without words is for --events
	}
	if e.Mark == release.MarkStep {
		if r.live {
			fmt.Fprintf(r.err, "\r\x1b[K%s %s", signs[e.Mark], line)
			r.open = true
		} else if line != r.last && e.At.Sub(r.told) >= quiet {
			fmt.Fprintf(r.err, "%s %s\n", signs[e.Mark], line)
			r.last, r.told = line, e.At
		}
		return
	}
	r.endLine()
	r.told = e.At
	sign := signs[e.Mark]
	if c := colors[e.Mark]; r.color && c != "" {
		sign = c + sign + "\x1b[0m"
	}
	fmt.Fprintf(r.err, "%s %s\n", sign, line)
}

// quiet is how long a log stays without a line before a step is worth one.
const quiet = 2 * time.Second

func eventText(e release.Event) string {
	var b strings.Builder
	if e.Role != "" {
		b.WriteString(e.Role + " ")
	}
	b.WriteString(e.Message)
	if e.Desired > 0 {
		fmt.Fprintf(&b, " %d/%d", e.Ready, e.Desired)
	}
	if e.Mark == release.MarkDone && e.Took >= 10*time.Millisecond {
		fmt.Fprintf(&b, " (%s)", took(e.Took))
	}
	return b.String()
}

// took is a duration as people read it: 240ms, 2.1s, 1m12s.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func (r *reporter) endLine() {
	if r.open {
		fmt.Fprint(r.err, "\r\x1b[K")
		r.open = false
	}
}

// result writes the one document of a command: v as JSON, or what text writes.
// What cannot be written, as to a full disk, is an error: a script relies on it.
func (g *globals) result(v any, text func(io.Writer)) error {
	var doc bytes.Buffer
	if g.output == "json" {
		enc := json.NewEncoder(&doc)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode the result: %w", err)
		}
	} else {
		text(&doc)
	}
	if _, err := g.term.out.Write(doc.Bytes()); err != nil {
		return &printedError{fmt.Errorf("write the result: %w", err)}
	}
	return nil
}
