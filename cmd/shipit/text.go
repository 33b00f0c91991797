package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/joelhooks/shipit/release"
)

// recordText writes one record for humans.
func recordText(w io.Writer, r release.Record) {
	fmt.Fprintf(w, "%s %s %s %s: %s\n", r.App, r.ID(), versionOr(r), r.Kind, r.OutcomeText())
	if r.Reason != "" && len(r.Failures) == 0 {
		fmt.Fprintf(w, "  %s\n", r.Reason)
	}
	rolesText(w, withCodesOnly(r))
	for _, f := range r.Failures {
		failureText(w, f)
	}
}

func versionOr(r release.Record) string {
	if r.Version == "" {
		return "-"
	}
	return r.Version
}

// withCodesOnly are the roles with the code of a failure as the reason: the failure
// details follow below the table.
func withCodesOnly(r release.Record) []release.RoleRecord {
	roles := slices.Clone(r.Roles)
	for i := range roles {
		for _, f := range r.Failures {
			if f.Role == roles[i].Name {
				roles[i].Reason = string(f.Code)
			}
		}
	}
	return roles
}

func rolesText(w io.Writer, roles []release.RoleRecord) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  ROLE\tTARGET\tRECORDED\tWANTED\tLIVE\tSHA\tREADY\tPARITY\tREASON")
	for _, r := range roles {
		parity := "yes"
		if !r.InParity {
			parity = "NO"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\n", r.Name, r.Target, release.ShortDigest(r.Digest), dash(release.ShortDigest(r.Wanted)),
			dash(release.ShortDigest(r.LiveDigest)), dash(release.Short(r.LiveSHA)), r.Ready, r.Desired, parity, r.Reason)
	}
	_ = tw.Flush() // the writer below it reports its own errors
}

// failureText writes failure details: cause, evidence, what to do.
func failureText(w io.Writer, f *release.Failure) {
	fmt.Fprintf(w, "✗ %s\n", release.OneLine(f.Error()))
	if f.ExitCode != nil {
		fmt.Fprintf(w, "  exit code %d", *f.ExitCode)
		if f.Signal != "" {
			fmt.Fprintf(w, " (%s)", f.Signal)
		}
		fmt.Fprintln(w)
	}
	for _, l := range f.Log {
		fmt.Fprintf(w, "  | %s\n", release.Visible(l)) // a record may be older than what makes it so
	}
	for _, e := range f.Events {
		fmt.Fprintf(w, "  event: %s\n", release.Visible(e))
	}
	if f.Hint != "" {
		fmt.Fprintf(w, "  → %s\n", f.Hint)
	}
}

func functionsText(w io.Writer, f *release.Functions) {
	if f == nil {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  ROLE\tCOUNT\tLAST REGISTRATION\t")
	for _, r := range f.Roles {
		at := "-"
		if !r.LastRegistration.IsZero() {
			at = r.LastRegistration.Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "  %s\t%d\t%s\t\n", r.Role, r.Count, at)
	}
	_ = tw.Flush()
	if len(f.Duplicates) > 0 {
		fmt.Fprintf(w, "  functions in more than one role: %s\n", strings.Join(f.Duplicates, ", "))
	}
}

// recordsText is the table of `history`.
func recordsText(w io.Writer, records []release.Record) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SEQ\tKIND\tSHA\tVERSION\tOUTCOME\tPARITY\tSTARTED\tTOOK\tREASON")
	for _, r := range records {
		parity, span := "no", "-"
		if r.Parity {
			parity = "yes"
		}
		if !r.SettledAt.IsZero() {
			span = release.Took(r.SettledAt.Sub(r.StartedAt))
		}
		outcome := string(r.Outcome)
		if r.Withdrawn {
			outcome += ", withdrawn"
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Kind, release.Short(r.SHA), versionOr(r), outcome, parity,
			r.StartedAt.Format(time.RFC3339), span, r.Reason)
	}
	_ = tw.Flush()
}

func findingsText(w io.Writer, findings []release.Finding) {
	for _, f := range findings {
		sign := "✗"
		if f.Severity == release.Warns {
			sign = "·"
		}
		fmt.Fprintf(w, "%s %s\n", sign, f)
		if f.Hint != "" {
			fmt.Fprintf(w, "  → %s\n", f.Hint)
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
