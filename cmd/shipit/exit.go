package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/actions"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/explain"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/progress"
	"github.com/joelhooks/shipit/release"
)

// Exit codes, a contract with scripts.
const (
	exitOK          = 0
	exitUnexpected  = 1
	exitUsage       = 2
	exitRefused     = 3
	exitFailed      = 4
	exitRestored    = 5
	exitDrift       = 6
	exitLocked      = 7
	exitInterrupted = 130
)

// exitMeaning is one row of the table of exit codes.
type exitMeaning struct {
	code    int
	meaning string
}

// exitMeanings is the table of exit codes. The help of shipit is made from it, and that
// of a command where meaningFor says nothing else; a test compares the tables of
// README.md and docs/ci.md with it.
func exitMeanings() []exitMeaning {
	return []exitMeaning{
		{exitOK, "settled, in parity"},
		{exitUnexpected, "unexpected error"},
		{exitUsage, "usage or configuration"},
		{exitRefused, "refused, or failed before anything changed"},
		{exitFailed, "rollout failed, not restored"},
		{exitRestored, "rollout failed, previous release restored"},
		{exitDrift, "drift: what runs is not what was recorded"},
		{exitLocked, "another release holds the lock"},
		{exitInterrupted, "interrupted"},
	}
}

// usageError is an invalid command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// exitError ends a command with a code. hint may be empty.
type exitError struct {
	code int
	msg  string
	hint string

	told     string // what is left to say for people where the result has told the rest; "" if it has not
	hintTold bool   // the result has told the hint too
}

func (e *exitError) Error() string { return e.msg }
func (e *exitError) Hint() string  { return e.hint }

// outcomeError maps a record to an error; nil if it settled in parity.
func outcomeError(r release.Record) error {
	hint, told, hintTold := "", r.ID()+" failed", false
	if len(r.Failures) > 0 {
		hint, hintTold = r.Failures[0].Hint, r.Failures[0].Hint != ""
	}
	switch {
	case r.Outcome == release.Settled && r.Parity:
		return nil
	case r.Outcome == release.Settled:
		return &exitError{code: exitDrift, msg: "settled, but what runs differs from the release: " + r.Reason, hint: "shipit status", told: "settled, but what runs differs from the release"}
	case r.Outcome == release.Restored:
		told += fmt.Sprintf(", #%d is restored", r.Restored)
		return &exitError{code: exitRestored, msg: fmt.Sprintf("%s failed, #%d is restored: %s", r.ID(), r.Restored, r.Reason), hint: hint, told: told, hintTold: hintTold}
	case r.Outcome == release.Pending:
		return &exitError{code: exitInterrupted, msg: r.ID() + " " + r.Reason, hint: "shipit status shows what was reached; the next release or rollback continues from there"}
	default:
		hint = cmp.Or(hint, "shipit status shows what runs now; fix the cause and release again, or go back with shipit rollback")
		return &exitError{code: exitFailed, msg: fmt.Sprintf("%s failed: %s", r.ID(), r.Reason), hint: hint, told: told, hintTold: hintTold}
	}
}

// reportError prints an error for humans, with what to do next, and returns its exit
// code. With -o json it also prints the document of the command, if the command has
// not done so.
func (g *globals) reportError(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	var done *printedError
	if g.output == "json" && !errors.As(err, &done) {
		g.refusedDocument(code, err)
	}
	if !errors.As(err, &done) && cmd != nil {
		_ = actions.Current(g.term.err).ReportError(cmd.CommandPath(), err) // the exit code says it too
	}
	msg, hint := g.leftToSay(err, hintFor(cmd, err, code))
	var coded *exitError
	recorded := errors.As(err, &coded) // what a rollout reached is in its record and among its events
	var repair *deploy.RepairError
	switch {
	case code != exitInterrupted || recorded:
	case errors.As(err, &repair):
		msg = "interrupted: " + msg
	default:
		msg = "interrupted; nothing was rolled out: " + msg
	}
	switch code {
	case exitRefused, exitUnexpected, exitLocked:
		g.endEvents(err)
	case exitInterrupted, exitFailed:
		if !recorded {
			g.endEvents(err)
		}
	}
	if msg != "" {
		g.tell(err, msg)
	}
	if hint != "" {
		fmt.Fprintf(g.term.err, "  → %s\n", hint)
	}
	return code
}

// tell writes an error for people, and before what is refused of several images what
// failed in each of them.
func (g *globals) tell(err error, msg string) {
	var several *pipeline.ImagesError
	if !errors.As(err, &several) {
		g.tellOne(err, msg)
		return
	}
	for _, failed := range several.Failed {
		g.tellOne(failed, failed.Error())
	}
	if several.Refused != nil {
		g.tellOne(several.Refused, msg)
	}
}

// tellOne writes an error in one line, and below it those of a command that failed.
func (g *globals) tellOne(err error, msg string) {
	var command *pipeline.CommandError
	if !errors.As(err, &command) || len(command.Tail) == 0 {
		fmt.Fprintf(g.term.err, "shipit: %s\n", release.OneLine(msg))
		return
	}
	fmt.Fprintf(g.term.err, "shipit: %s\n", release.Visible(firstLine(msg)))
	for _, line := range command.Tail {
		fmt.Fprintf(g.term.err, "    %s\n", release.Visible(line))
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// endEvents writes the error as the last of the events, which programs read in place
// of what people are told.
func (g *globals) endEvents(err error) {
	if g.events == "" && g.told.Notifier == nil {
		return
	}
	last, failed := progress.New(io.Discard, g.events)
	if failed != nil {
		return // the command has said that it cannot be written
	}
	last.Follow(g.told.Event)
	msg := release.OneLine(err.Error())
	var command *pipeline.CommandError
	if errors.As(err, &command) { // its lines are events before this one
		msg = release.Visible(firstLine(err.Error()))
	}
	last.Report(release.Event{Mark: release.MarkFail, Message: msg})
	_ = last.Close() // the exit code says it too
}

// leftToSay is what of an error and its hint people have not read yet. The result on
// stdout may have told the cause and what to do; the findings of a refusal are
// written here, unless it has told them.
func (g *globals) leftToSay(err error, hint string) (string, string) {
	var printed *printedError
	told := errors.As(err, &printed) && g.output == "text"
	if told {
		err = printed.err
	}
	coded, alone := err.(*exitError) //nolint:errorlint // errors that were joined to one are said in full
	if alone && told && coded.told != "" {
		if coded.hintTold {
			hint = ""
		}
		return coded.told, hint
	}
	var refusal *release.Refusal
	if !errors.As(err, &refusal) {
		return err.Error(), hint
	}
	if !told {
		console.Findings(g.term.err, refusal.Findings, nil)
	}
	return "refused, nothing was changed", refusal.AllowHint()
}

// printedError wraps an error of a command that has printed its document already.
type printedError struct{ err error }

func (e *printedError) Error() string { return e.err.Error() }
func (e *printedError) Unwrap() error { return e.err }

func exitCode(ctx context.Context, err error) int {
	var (
		coded  *exitError
		usage  *usageError
		fault  *config.Error
		refuse *release.Refusal
		none   *release.NoneError
		early  *deploy.UnchangedError
		held   *ledger.HeldError
		newer  *ledger.SupersededError
		repair *deploy.RepairError
	)
	switch {
	case errors.As(err, &coded):
		return coded.code
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &fault), isUnknownCommand(err), isUsage(err):
		return exitUsage
	case errors.As(err, &held), errors.As(err, &newer):
		return exitLocked
	case errors.As(err, &refuse), errors.As(err, &none), errors.As(err, &early):
		return exitRefused
	case errors.As(err, &repair):
		return exitFailed
	default:
		return exitUnexpected
	}
}

// isUsage reports whether the argument names no revision, release, setting or code.
func isUsage(err error) bool {
	var (
		rev       *git.NoSuchRevError
		ambiguous *git.AmbiguousRevError
		dir       *git.NotRepositoryError
		unclear   *release.UnclearError
		unknown   *explain.UnknownError
	)
	return errors.As(err, &unknown) || errors.As(err, &unclear) || errors.As(err, &rev) || errors.As(err, &ambiguous) || errors.As(err, &dir)
}

func isUnknownCommand(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ")
}

// hintFor is what to type or look at next.
func hintFor(cmd *cobra.Command, err error, code int) string {
	var refuse *release.Refusal
	if errors.As(err, &refuse) {
		return refuse.Hint() // not that of an error that it joins
	}
	var fault *config.Error
	if errors.As(err, &fault) {
		return fault.Hint
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	var (
		nothing *deploy.NothingReleasedError
		good    *deploy.NothingGoodError
	)
	switch {
	case errors.As(err, &nothing):
		return "shipit release"
	case errors.As(err, &good):
		return "name one by its sequence number; shipit history lists them"
	case code == exitUsage && cmd != nil:
		return cmd.CommandPath() + " --help"
	default:
		return ""
	}
}

// refusedDocument prints the JSON document of a command that ended before it had a
// result.
func (g *globals) refusedDocument(code int, err error) {
	doc := struct {
		release.Record
		Error    string            `json:"error"`
		ExitCode int               `json:"exitCode"`
		Findings []release.Finding `json:"findings,omitempty"`
		Repaired []string          `json:"repaired,omitempty"` // by a repair that did not end
	}{Record: g.partial, Error: release.OneLine(err.Error()), ExitCode: code}
	doc.Outcome, doc.Roles, doc.StartedAt = release.Refused, []release.RoleRecord{}, time.Now().UTC().Truncate(time.Millisecond)
	var repair *deploy.RepairError
	if errors.As(err, &repair) {
		doc.Outcome, doc.Repaired = release.Failed, repair.Repaired
	}
	var refuse *release.Refusal
	if errors.As(err, &refuse) {
		doc.Findings = refuse.Findings
	}
	enc := json.NewEncoder(g.term.out)
	enc.SetIndent("", "  ")
	_ = enc.Encode(doc) // if stdout is broken, nothing is left to report it to
}
