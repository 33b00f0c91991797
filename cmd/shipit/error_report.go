package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/actions"
	"github.com/joelhooks/shipit/console"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/pipeline"
	"github.com/joelhooks/shipit/progress"
	"github.com/joelhooks/shipit/release"
)

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
	if g.events == "" && g.notified.Notifier == nil {
		return
	}
	last, failed := progress.New(io.Discard, g.events)
	if failed != nil {
		return // the command has said that it cannot be written
	}
	last.Follow(g.notified.Event)
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
