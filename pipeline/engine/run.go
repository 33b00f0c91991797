package engine

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/joelhooks/shipit/tracing"
)

// Ran is what an engine told of a command.
type Ran struct {
	Told   bool          // it tells what commands print, and that was passed on
	Cached bool          // the command did not run: the engine had its result
	Took   time.Duration // of the command itself; 0 if that is not known
}

// toldLimit is how long an engine may take to tell the rest of a command that has ended.
const toldLimit = 2 * time.Second

// silentLimit is how long the first that a command printed, or its end, may come after the
// engine's answer. An engine that finds a result by what it is made of calls it a run, in
// which nothing is printed: a process takes longer than foundLimit to start.
const (
	silentLimit = 500 * time.Millisecond
	foundLimit  = 20 * time.Millisecond
)

// Run calls fn, which asks the engine for one command and nothing else, in a span of that
// name, and passes on each line that the command prints as soon as the engine tells it.
// Several may run at the same time.
func (e *Engine) Run(ctx context.Context, name string, output func(line string), fn func(ctx context.Context) error) (Ran, error) {
	ctx, end := tracing.Span(ctx, name)
	if e.told == nil {
		err := fn(ctx)
		end(err)
		return Ran{}, err
	}
	own := trace.SpanContextFromContext(ctx)
	if !trace.SpanFromContext(ctx).IsRecording() {
		own = unrecorded(own)
		ctx = trace.ContextWithSpanContext(ctx, own)
	}
	r := &run{output: output, rest: map[string]string{}, ops: map[string]operation{}}
	e.told.change(func() { e.told.runs[key(own.SpanID())] = r })
	err := fn(ctx)
	end(err)
	ran := e.told.settle(ctx, r)
	e.told.change(func() { delete(e.told.runs, key(own.SpanID())) })
	return ran, err
}

// unrecorded is a place in the caller's trace, or in one of its own, that nobody records:
// by it, it is known what the engine does for a command.
func unrecorded(in trace.SpanContext) trace.SpanContext {
	config := trace.SpanContextConfig{TraceID: in.TraceID(), TraceState: in.TraceState(), TraceFlags: trace.FlagsSampled}
	if !in.IsValid() {
		_, _ = rand.Read(config.TraceID[:])
	}
	_, _ = rand.Read(config.SpanID[:])
	return trace.NewSpanContext(config)
}

// settle waits until the engine has told all of a command that has ended, and returns what
// it told.
func (t *told) settle(ctx context.Context, r *run) (ran Ran) {
	limit := time.NewTimer(toldLimit)
	defer limit.Stop()
	for silent := false; ; {
		t.mu.Lock()
		changed, done := t.changed, r.settled() || t.streams < 2
		ran = r.ran()
		ran.Told = t.streams == 2 && r.queried && (ran.Cached || r.ends >= 2)
		if !silent && r.queried && r.ends == 0 {
			silent = limit.Reset(silentLimit)
		}
		t.mu.Unlock()
		if done {
			return ran
		}
		select {
		case <-changed:
		case <-limit.C:
			return ran
		case <-ctx.Done():
			return ran
		}
	}
}

// run is a command that an engine was asked for.
type run struct {
	output func(line string)

	queried bool                 // the engine has answered what it was asked
	ends    int                  // of the output's two streams
	rest    map[string]string    // of their last lines
	asked   span                 // the last command of the query
	ops     map[string]operation // that commands are to an engine, by their ids
}

// operation is the work that a command is to an engine.
type operation struct {
	cached, ended bool
	took          time.Duration
}

const effect = "dagger.io/effect.id"

func (r *run) span(s span) {
	took, ended := s.took()
	switch {
	case s.Name == "POST /query":
		r.queried = r.queried || ended
	case s.attribute(effect).Value.String != "":
		r.ops[s.attribute(effect).Value.String] = operation{s.attribute("dagger.io/dag.cached").Value.Bool, ended, took}
	case strings.HasSuffix(s.Name, ".withExec") && s.Began >= r.asked.Began:
		r.asked = s
	}
}

// op is the work of the command; false if there was none, or the engine does not tell.
func (r *run) op() (operation, bool) {
	for _, id := range r.asked.attribute("dagger.io/effect.ids").Value.Array.Values {
		if op, ok := r.ops[id.String]; ok {
			return op, true
		}
	}
	return operation{}, false
}

func (r *run) entry(e entry) {
	whole, rest := lines(r.rest[e.stream] + e.text)
	r.rest[e.stream] = rest
	if e.end {
		r.ends++
		if rest != "" {
			whole, r.rest[e.stream] = append(whole, rest), ""
		}
	}
	for _, line := range whole {
		r.output(line)
	}
}

// settled reports whether nothing more is to come.
func (r *run) settled() bool {
	op, found := r.op()
	switch {
	case !r.queried:
		return false
	case found && !op.cached:
		return r.ends >= 2 && op.ended
	}
	return r.asked.attribute("dagger.io/dag.cached").Value.Bool || r.ends >= 2
}

func (r *run) ran() Ran {
	op, found := r.op()
	if found && !op.cached && (r.ends > 0 || !op.ended || op.took > foundLimit) {
		return Ran{Took: op.took}
	}
	if found && !op.cached {
		return Ran{Cached: true}
	}
	return Ran{Cached: r.ends == 0 && (op.cached || r.asked.attribute("dagger.io/dag.cached").Value.Bool)}
}
