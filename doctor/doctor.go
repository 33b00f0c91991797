// Package doctor asks everything that a release needs whether it is there: each
// answer is ok, or says what to type. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/release"
)

// Status is what became of one check.
type Status string

const (
	OK      Status = "ok"
	Note    Status = "note"    // worth knowing; a release works without it
	Failed  Status = "failed"  // a release does not work without it
	Skipped Status = "skipped" // not needed here, or not to be known
)

// Result is the outcome of one check.
type Result struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Message string `json:"message"`          // what was found, one line
	Remedy  string `json:"remedy,omitempty"` // what to type or change
}

// Report is what all checks found, in the order of the checks.
type Report struct {
	OK     bool     `json:"ok"` // nothing failed
	Checks []Result `json:"checks"`
}

// Check asks one thing. Its results may be several, such as one a machine.
type Check struct {
	Name string
	Ask  func(context.Context) []Result
}

// Checks run a few at once, each within a limit.
const (
	parallel = 8
	limit    = 20 * time.Second
)

// Run runs all checks at the same time.
func Run(ctx context.Context, checks []Check) Report {
	found := make([][]Result, len(checks))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, check := range checks {
		group.Go(func() error {
			limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
			defer cancel()
			found[i] = check.Ask(limited)
			return nil
		})
	}
	_ = group.Wait() // no check returns an error
	report := Report{OK: true, Checks: []Result{}}
	for i, results := range found {
		for _, r := range results {
			if r.Name == "" {
				r.Name = checks[i].Name
			}
			r.Message = release.OneLine(r.Message)
			report.OK = report.OK && r.Status != Failed
			report.Checks = append(report.Checks, r)
		}
	}
	return report
}

func ok(format string, args ...any) Result {
	return Result{Status: OK, Message: fmt.Sprintf(format, args...)}
}

func skipped(why string) Result { return Result{Status: Skipped, Message: why} }

// failed is an error and what its Hint says to do, or else remedy.
func failed(ctx context.Context, err error, remedy string) Result {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		remedy = hinted.Hint()
	}
	return Result{Status: Failed, Message: err.Error(), Remedy: remedy}
}

// of names results after what they are about.
func of(name string, r Result) Result {
	r.Name = name
	return r
}

// fromFindings are a result for each finding, or ok with the message if there are none.
func fromFindings(name string, findings []release.Finding, message string) []Result {
	var results []Result
	for _, f := range findings {
		r := Result{Name: name, Status: Failed, Message: f.String(), Remedy: f.Hint}
		if f.Severity == release.Warns {
			r.Status = Note
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		results = append(results, of(name, ok("%s", message)))
	}
	return results
}
