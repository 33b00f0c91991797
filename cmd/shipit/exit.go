package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/explain"
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

// exitMeaning is one row of the table of exit codes.
type exitMeaning struct {
	code    int
	meaning string
}

// exitMeanings is the table of exit codes. The help of shipit is made from it, and that
// of a command where meaningsOf says nothing else; a test compares the tables of
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
