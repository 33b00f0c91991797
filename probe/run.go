package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

const accepted = "status >= 200 && status < 300"

// messageBytes limits the cause in the message of a failure.
const messageBytes = 500

// Run repeats the probe until it succeeds or its time is over. ask sends requests to
// the role. A probe that does not succeed is a *release.Failure; if ctx ends first,
// the error is its cause.
func Run(ctx context.Context, role config.Role, p config.Probe, ask Asker) error {
	l, err := newLanguage()
	if err != nil {
		return err
	}
	w := windowOf(p, ask)
	switch {
	case len(p.Command) > 0:
		return w.until(ctx, role, nameOf(p), func(ctx context.Context) ([]string, error) { return runCommand(ctx, p) })
	case p.Event != nil:
		return l.runEvent(ctx, role, p, ask)
	default:
		q, err := l.questionOf(config.Request{URL: p.Path, Expect: p.Expect}, "", "status == 200")
		if err != nil {
			return err
		}
		q.port, q.ask, q.self = portOf(role, p), ask, role
		return w.until(ctx, role, nameOf(p), q.attempt)
	}
}

// runEvent sends an event until it is accepted, then waits until another request
// shows that it arrived.
func (l language) runEvent(ctx context.Context, role config.Role, p config.Probe, ask Asker) error {
	id := "shipit-" + strings.ToLower(rand.Text())
	send, err := l.questionOf(p.Event.Send, id, accepted)
	if err != nil {
		return err
	}
	send.port, send.ask, send.self = portOf(role, p), ask, role
	w := windowOf(p, ask)
	began := time.Now()
	var sent answer
	err = w.until(ctx, role, nameOf(p)+": send", func(ctx context.Context) ([]string, error) {
		sent, err = send.try(ctx)
		return sent.excerpt(), named(send, err)
	})
	if err != nil {
		return err
	}
	if p.Event.ID != "" { // an event that was accepted is not sent again, whatever the answer says
		if id, err = l.eventID(p.Event.ID, sent); err != nil {
			w.hint = "the event was accepted, and its id is not where the probe's id looks for it: compare it with the answer"
			return w.failure(ctx, role, nameOf(p)+": send", sent.excerpt(), causeOf(named(send, err)))
		}
	}
	await, err := l.questionOf(p.Event.Await, id, accepted, fmt.Sprintf("text.contains(%q)", id))
	if err != nil {
		return err
	}
	await.port, await.ask, await.self = send.port, ask, role
	w.within = max(w.within-time.Since(began), w.every)
	return w.until(ctx, role, nameOf(p)+": await "+id, await.attempt)
}

// eventID is the id that the server gave to an event, by an expression over its answer.
// It becomes part of a URL, so it must look like an id.
func (l language) eventID(text string, answer answer) (string, error) {
	e, err := l.compile(text)
	if err != nil {
		return "", err
	}
	value, err := e.value(answer)
	if err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	id, _ := value.Value().(string)
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`).MatchString(id) {
		return "", fmt.Errorf("%s gives %s, which is no id", text, show(value))
	}
	return id, nil
}

// attempt is try that returns the answer as evidence.
func (q question) attempt(ctx context.Context) ([]string, error) {
	answer, err := q.try(ctx)
	return answer.excerpt(), named(q, err)
}

// window is how long and how often to try, and the failure when the time is over.
type window struct {
	within, every time.Duration
	code          release.Code
	hint          string
	ask           Asker // whose secrets a failure hides
}

func windowOf(p config.Probe, ask Asker) window {
	return window{
		within: p.Within.Or(30 * time.Second), every: p.Every.Or(500 * time.Millisecond), code: release.CodeProbeFailed,
		hint: "read the role's log; if it only needs longer, raise the probe's within", ask: ask,
	}
}

// until calls try at once and then at every interval until it succeeds. The failure
// has the last error and its evidence.
func (w window) until(ctx context.Context, role config.Role, what string, try func(context.Context) ([]string, error)) error {
	limited, cancel := context.WithTimeout(ctx, w.within)
	defer cancel()
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	var (
		last     error
		evidence []string
	)
	for attempts := 1; ; attempts++ {
		seen, err := try(limited)
		if err == nil {
			return nil
		}
		// If the end of the window interrupts an attempt, the error before it says more.
		if last == nil || limited.Err() == nil {
			last, evidence = err, seen
		}
		select {
		case <-tick.C:
		case <-limited.Done():
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if limited.Err() != nil {
			f := w.failure(ctx, role, what, evidence, causeOf(last))
			f.Message += fmt.Sprintf(" (tried %d times in %s)", attempts, w.within.Round(time.Millisecond))
			return f
		}
	}
}

// failure is one with its cause and evidence, in which secrets are hidden.
func (w window) failure(ctx context.Context, role config.Role, what string, evidence []string, cause string) *release.Failure {
	hide := w.ask.hiding(ctx, role)
	for i, line := range evidence {
		evidence[i] = shorten(hide(line))
	}
	return &release.Failure{Role: role.Name, Code: w.code, Object: what, Log: evidence, Hint: w.hint, Message: clip(hide(cause), messageBytes)}
}

// causeOf is the error in one line.
func causeOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

func portOf(role config.Role, p config.Probe) int {
	if p.Port != 0 {
		return p.Port
	}
	return role.Port
}

// nameOf names the probe in messages.
func nameOf(p config.Probe) string {
	switch {
	case p.Name != "":
		return "probe " + p.Name
	case p.Path != "":
		return "probe " + p.Path
	case len(p.Command) > 0:
		return "probe " + p.Command[0]
	default:
		return "event probe"
	}
}
