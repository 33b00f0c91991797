package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// TestResult is how one of an image's tests ended. The JSON fields are part of the
// contract of `test -o json`.
type TestResult struct {
	Command  []string    `json:"command"`
	Platform string      `json:"platform,omitempty"` // that it ran for; "" if it is the same for all
	Outcome  TestOutcome `json:"outcome"`
	Seconds  float64     `json:"seconds"`
	Tail     []string    `json:"tail,omitempty"` // the last lines of one that failed
}

// TestOutcome is how a test ended.
type TestOutcome string

const (
	TestPassed  TestOutcome = "passed"
	TestFailed  TestOutcome = "failed"
	TestSkipped TestOutcome = "skipped" // one before it failed
)

// TestsError is several tests of one image that failed.
type TestsError struct {
	Failed []*CommandError
	Of     int // so many ran
}

func (e *TestsError) Error() string {
	var all []string
	for _, f := range e.Failed {
		all = append(all, fmt.Sprintf("`%s` (%v)", strings.Join(f.Args, " "), f.Err))
	}
	return fmt.Sprintf("%d of %d tests failed: %s", len(e.Failed), e.Of, strings.Join(all, ", "))
}

// Unwrap gives the commands that failed.
func (e *TestsError) Unwrap() []error {
	out := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		out[i] = f
	}
	return out
}

// tests are those of one image, and how its builder runs one of them.
type tests struct {
	image    config.Image
	progress release.Progress
	run      func(ctx context.Context, args []string, progress release.Progress) error
}

// all runs the tests: in order, until one fails, or at the same time and all to their
// end. The error of one that failed is a *CommandError, of several a *TestsError.
func (t tests) all(ctx context.Context) ([]TestResult, error) {
	results := make([]TestResult, len(t.image.Test))
	for i, args := range t.image.Test {
		results[i] = TestResult{Command: args, Outcome: TestSkipped}
	}
	errs := make([]error, len(results))
	if !t.image.Parallel {
		for i := range results {
			if errs[i] = results[i].of(ctx, t, t.progress); errs[i] != nil {
				break
			}
		}
		return results, testsError(errs)
	}
	var running sync.WaitGroup
	var one sync.Mutex
	for i := range results {
		running.Go(func() {
			held := &heldEvents{to: t.progress}
			errs[i] = results[i].of(ctx, t, held.report)
			one.Lock()
			defer one.Unlock()
			held.tell(errs[i])
		})
	}
	running.Wait()
	return results, testsError(errs)
}

// of runs one test and notes how it ended.
func (r *TestResult) of(ctx context.Context, t tests, progress release.Progress) error {
	began := time.Now()
	err := t.run(ctx, r.Command, progress)
	r.Outcome, r.Seconds = TestPassed, time.Since(began).Seconds()
	var failed *CommandError
	switch {
	case errors.As(err, &failed):
		r.Outcome, r.Tail = TestFailed, failed.Tail
	case err != nil:
		r.Outcome = TestSkipped // it was not its end
	}
	return err
}

// testsError is the error of tests that have run: of several commands that failed one
// error, and what is no command's before them.
func testsError(errs []error) error {
	all := &TestsError{Of: len(errs)}
	for _, err := range errs {
		var failed *CommandError
		switch {
		case errors.As(err, &failed):
			all.Failed = append(all.Failed, failed)
		case err != nil:
			return err
		}
	}
	switch len(all.Failed) {
	case 0:
		return nil
	case 1:
		return all.Failed[0]
	}
	return all
}

// heldEvents keeps what a test prints until it has ended, so that the lines of tests
// that run at the same time are not mixed.
type heldEvents struct {
	to   release.Progress
	held []release.Event
}

func (h *heldEvents) report(e release.Event) {
	if e.Mark == release.MarkStart || e.Mark == release.MarkNote {
		h.to.Report(e)
		return
	}
	h.held = append(h.held, e)
}

// tell passes on what was kept, and how the test failed.
func (h *heldEvents) tell(err error) {
	for _, e := range h.held {
		h.to.Report(e)
	}
	var failed *CommandError
	if errors.As(err, &failed) {
		h.to.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkFail, Message: fmt.Sprintf("run %s: %v", strings.Join(failed.Args, " "), failed.Err)})
	}
}

// ofTests makes every event one of the tests, which run beside a build.
func ofTests(p release.Progress) release.Progress {
	return func(e release.Event) {
		e.Phase = release.PhaseTest
		p.Report(e)
	}
}

// serially makes a callback that is called by one goroutine at a time.
func serially(p release.Progress) release.Progress {
	if p == nil {
		return nil
	}
	var one sync.Mutex
	return func(e release.Event) {
		one.Lock()
		defer one.Unlock()
		p(e)
	}
}
