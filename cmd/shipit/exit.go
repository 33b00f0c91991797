package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/pipeline/git"
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

// usageError is an invalid command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// codeError ends a command with a code. msg may be empty: all was said already.
type codeError struct {
	code int
	msg  string
	hint string
}

func (e *codeError) Error() string { return e.msg }
func (e *codeError) Hint() string  { return e.hint }

// outcomeError maps a record to an error; nil if it settled in parity.
func outcomeError(r release.Record) error {
	hint := ""
	if len(r.Failures) > 0 {
		hint = r.Failures[0].Hint
	}
	switch {
	case r.Outcome == release.Settled && r.Parity:
		return nil
	case r.Outcome == release.Settled:
		return &codeError{exitDrift, "settled, but what runs differs from the release: " + r.Reason, "shipit status"}
	case r.Outcome == release.Restored:
		return &codeError{exitRestored, fmt.Sprintf("%s failed, #%d is restored: %s", r.ID(), r.Restored, r.Reason), hint}
	case r.Outcome == release.Pending:
		return &codeError{exitInterrupted, r.ID() + " " + r.Reason, "shipit status shows what was reached; the next release or rollback continues from there"}
	default:
		return &codeError{exitFailed, fmt.Sprintf("%s failed: %s", r.ID(), r.Reason),
			cmp.Or(hint, "shipit status shows what runs now; fix the cause and release again, or go back with shipit rollback")}
	}
}

// explain prints an error for people, with what to do next, and maps it to an
// exit code. With -o json it also prints the one document that stdout owes,
// if the command has not done so.
func (g *globals) explain(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	var done *printedError
	if g.output == "json" && !errors.As(err, &done) {
		g.refusedDocument(code, err)
	}
	if !errors.As(err, &done) && cmd != nil {
		_ = actionsOf(g).refuse(cmd.CommandPath(), err) // the exit code says it too
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(g.term.err, "shipit: %s\n", release.OneLine(msg))
	}
	if hint := hintOf(cmd, err, code); hint != "" {
		fmt.Fprintf(g.term.err, "  → %s\n", hint)
	}
	return code
}

// printedError wraps an error whose result document is on stdout already.
type printedError struct{ err error }

func (e *printedError) Error() string { return e.err.Error() }
func (e *printedError) Unwrap() error { return e.err }

func exitCode(ctx context.Context, err error) int {
	var (
		coded  *codeError
		usage  *usageError
		fault  *config.Error
		refuse *release.Refusal
		none   *release.NoneError
		early  *deploy.UnchangedError
		held   *ledger.HeldError
		newer  *ledger.SupersededError
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
	default:
		return exitUnexpected
	}
}

// isUsage reports whether what was asked for is not there to be released, or no
// name of anything.
func isUsage(err error) bool {
	var (
		rev       *git.NoSuchRevError
		ambiguous *git.AmbiguousRevError
		dir       *git.NotRepositoryError
		unclear   *release.UnclearError
	)
	return errors.As(err, &unclear) || errors.As(err, &rev) || errors.As(err, &ambiguous) || errors.As(err, &dir)
}

func isUnknownCommand(err error) bool {
	return strings.HasPrefix(err.Error(), "unknown command ")
}

// hintOf is what to type or look at next.
func hintOf(cmd *cobra.Command, err error, code int) string {
	var refuse *release.Refusal
	if errors.As(err, &refuse) {
		return refusalHint(refuse)
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
	case code == exitInterrupted:
		return "nothing was rolled out" // a rollout that was begun has a hint of its own
	default:
		return ""
	}
}

func refusalHint(r *release.Refusal) string {
	var hints, codes []string
	for _, f := range r.Findings {
		if f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
		if f.Allowable() && !slices.Contains(codes, "--allow "+string(f.Code)) {
			codes = append(codes, "--allow "+string(f.Code))
		}
	}
	if len(hints) > 0 {
		return strings.Join(hints, "; ")
	}
	if len(codes) > 0 {
		return "fix it, or release in spite of it with " + strings.Join(codes, " ")
	}
	return ""
}

// refusedDocument is the JSON result of a command that ended before it had one.
func (g *globals) refusedDocument(code int, err error) {
	doc := struct {
		release.Record
		Error    string            `json:"error"`
		ExitCode int               `json:"exitCode"`
		Findings []release.Finding `json:"findings,omitempty"`
	}{Record: g.about, Error: release.OneLine(err.Error()), ExitCode: code}
	doc.Outcome, doc.Roles, doc.StartedAt = release.Refused, []release.RoleRecord{}, time.Now().UTC().Truncate(time.Millisecond)
	var refuse *release.Refusal
	if errors.As(err, &refuse) {
		doc.Findings = refuse.Findings
	}
	enc := json.NewEncoder(g.term.out)
	enc.SetIndent("", "  ")
	_ = enc.Encode(doc) // stdout is broken: nowhere is left to report it
}
