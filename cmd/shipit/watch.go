package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/live"
	"github.com/joelhooks/shipit/release"
)

// watch reads the status again and again until ctx ends. A terminal shows the newest;
// elsewhere what differs from the one before is written, with -o json as one document
// a line. The error is that of the last status.
func (g *globals) watch(ctx context.Context, every time.Duration, read func(context.Context) (statusResult, error)) error {
	show, done := g.watcher(every)
	defer done()
	var result statusResult
	var err error
	for {
		next, rerr := read(ctx)
		if ctx.Err() != nil {
			return result.drifted(err)
		}
		result, err = next, rerr
		show(result, err)
		select {
		case <-ctx.Done():
			return result.drifted(err)
		case <-time.After(every):
		}
	}
}

// watcher shows one status after the other.
func (g *globals) watcher(every time.Duration) (show func(statusResult, error), done func()) {
	if out, ok := g.term.out.(*os.File); ok && g.output == "text" && term.IsTerminal(int(out.Fd())) {
		screen := live.Open(out)
		return func(s statusResult, err error) {
			text := fmt.Sprintf("every %s, last at %s; Ctrl-C ends\n\n", every, time.Now().Format(time.TimeOnly))
			screen.Text(text + s.text(err, console.Width(out)))
		}, screen.Close
	}
	last := ""
	return func(s statusResult, err error) {
		var text string
		if doc, jerr := json.Marshal(s.document()); g.output == "json" && err == nil && jerr == nil {
			text = string(doc) + "\n"
		} else if g.output == "json" {
			fmt.Fprintf(g.term.err, "shipit: %s\n", release.OneLine(err.Error()))
			return
		} else {
			text = s.text(err, 0)
		}
		if text != last {
			last = text
			_, _ = io.WriteString(g.term.out, text) // the reader may have gone; Ctrl-C ends it
		}
	}, func() {}
}

// text is the status for people, or why it could not be read.
func (s statusResult) text(err error, width int) string {
	if err != nil {
		return "✗ " + release.OneLine(err.Error()) + "\n"
	}
	var b bytes.Buffer
	console.Status(&b, s.Record, s.Newest, width)
	return b.String()
}
