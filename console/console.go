// Package console writes records, roles, failures and findings for people, in lines
// that fit their terminal. What is said in one place is not said in another.
package console

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/joelhooks/shipit/release"
)

// defaultWidth is what a table fits into where nobody knows its reader's terminal.
const defaultWidth = 80

// Width is how many columns the terminal has that w is; 0 if it is none, so that no
// line is cut.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		return defaultWidth
	}
	return width
}

// Record writes one record: its outcome, its roles, and why it failed.
func Record(w io.Writer, r release.Record, width int) {
	fmt.Fprintf(w, "%s %s %s %s: %s\n", r.App, r.ID(), dash(r.Version), r.Kind, r.OutcomeText())
	if from := r.From; from != nil {
		fmt.Fprintf(w, "  from #%d in %s\n", from.Seq, release.EnvironmentName(from.Environment))
	}
	adopted(w, r)
	if r.Reason != "" && !told(r, r.Reason) {
		fmt.Fprintf(w, "  %s\n", r.Reason)
	}
	roles(w, r, width)
	causes(w, r)
}

// causes writes the drift and the failures of a record.
func causes(w io.Writer, r release.Record) {
	for _, d := range r.Drift {
		fmt.Fprintf(w, "✗ %s\n", drift(d))
	}
	for _, f := range r.Failures {
		failure(w, f)
	}
}

// Status writes what runs beside the last good release, and names the newest record
// if it is another one.
func Status(w io.Writer, r, newest release.Record, width int) {
	parity := "in parity"
	if !r.Parity {
		parity = "NOT in parity"
	}
	fmt.Fprintf(w, "%s %s %s, %s\n", r.App, r.ID(), dash(r.Version), parity)
	adopted(w, r)
	roles(w, r, width)
	sources(w, r, width)
	functions(w, r.Functions)
	registrations(w, r.Functions)
	if newest.Seq != r.Seq {
		fmt.Fprintf(w, "  newest record: %s %s: %s; shipit history %d tells more\n", newest.ID(), newest.Kind, newest.OutcomeText(), newest.Seq)
	}
	causes(w, r)
}

// adopted says of a record that it is of what ran before the first release.
func adopted(w io.Writer, r release.Record) {
	if r.Adopted {
		fmt.Fprintf(w, "  #0 is %s, as it was found: its commit is not known\n", release.BeforeFirst)
	}
}

// told reports whether a reason is no more than what the failures or the drift say.
func told(r release.Record, reason string) bool {
	for _, f := range r.Failures {
		if reason == f.Error() || reason == release.OneLine(f.Error()) {
			return true
		}
	}
	for _, d := range r.Drift {
		if reason == d.String() {
			return true
		}
	}
	return false
}

// roles writes the table of a record's roles: what runs, and only where it differs
// what should. A reason that is not told elsewhere stands below its role.
func roles(w io.Writer, r release.Record, width int) {
	t := table{width: width, droppable: []int{5, 2, 1}}
	t.add("", "ROLE", "TARGET", "IMAGE", "READY", "PARITY", "COMMIT", "RUNS")
	for _, role := range r.Roles {
		parity, reason := "yes", role.Reason
		if !role.InParity {
			parity = "NO"
		}
		if told(r, reason) {
			reason = ""
		}
		commit := ""
		if width > defaultWidth || role.LiveSHA != r.SHA {
			commit = release.Short(role.LiveSHA)
		}
		image := ""
		if width > defaultWidth {
			image = role.Image
		}
		t.add(reason, role.Name, string(role.Target), image, fmt.Sprintf("%d/%d", role.Ready, role.Desired), parity, commit, runs(role))
	}
	t.write(w)
}

// runs is the digest that runs, and those that were recorded or asked for where they
// are others.
func runs(r release.RoleRecord) string {
	text := short(r.LiveDigest)
	if text == "" {
		text = "nothing"
	}
	if r.LiveDigest != r.Digest && r.Digest != "" {
		text += ", not " + short(r.Digest)
	}
	if r.Wanted == "" || r.Wanted == r.Digest || r.Wanted == r.LiveDigest {
		return text
	}
	if _, tag, tagged := strings.Cut(path.Base(r.Wanted), ":"); r.InParity && tagged && !strings.HasPrefix(r.Wanted, "sha256:") {
		return text + ", by tag " + tag
	}
	return text + ", wanted " + short(r.Wanted)
}

// short is a digest without its algorithm, for a column of them.
func short(digest string) string {
	return strings.TrimPrefix(release.ShortDigest(digest), "sha256:")
}

// drift is one drift in a line.
func drift(d release.Drift) string {
	switch d.Kind {
	case release.DriftUnready:
		return d.Role + ": " + d.Detail
	case release.DriftMissing:
		return d.Role + ": nothing runs, " + d.Detail
	case release.DriftUnknown:
		return d.Role + ": what runs is not known: " + d.Detail
	case release.DriftObject:
		return fmt.Sprintf("%s: %s: live %s, wanted %s", d.Role, d.Detail, release.ShortDigest(d.Live), release.ShortDigest(d.Wanted))
	default:
		return d.String()
	}
}

// failure writes why a role failed: cause, evidence, what to do.
func failure(w io.Writer, f *release.Failure) {
	fmt.Fprintf(w, "✗ %s\n", release.OneLine(f.Error()))
	if f.ExitCode != nil && !strings.Contains(f.Message, fmt.Sprintf("exit code %d", *f.ExitCode)) {
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

func functions(w io.Writer, f *release.Functions) {
	if f == nil {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  ROLE\tFUNCTIONS\tLAST REGISTRATION")
	for _, r := range f.Roles {
		at := "-"
		if !r.LastRegistration.IsZero() {
			at = r.LastRegistration.Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "  %s\t%d\t%s\n", r.Role, r.Count, at)
	}
	_ = tw.Flush() // the writer below it reports its own errors
	for _, r := range f.Roles {
		if r.Retire {
			fmt.Fprintf(w, "  %s has no function left: retire the role (docs/runbook.md, Retire a role)\n", r.Role)
		}
	}
	if len(f.Duplicates) > 0 {
		fmt.Fprintf(w, "  functions in more than one role: %s\n", strings.Join(f.Duplicates, ", "))
	}
}

// registrations writes what the function server has of roles, or why it could not be
// asked. Where it differs, the drift says so.
func registrations(w io.Writer, of *release.Functions) {
	if of == nil {
		return
	}
	for _, f := range of.Roles {
		switch {
		case f.Unasked != "":
			fmt.Fprintf(w, "  %s: what the server has registered could not be asked: %s\n", f.Role, f.Unasked)
		case f.Registered != "" && f.Unregistered == "":
			fmt.Fprintf(w, "  %s is registered at the server: %s\n", f.Role, f.Registered)
		}
	}
}

// History writes the table of records; below one that failed stands why.
func History(w io.Writer, records []release.Record, width int) {
	t := table{width: width, droppable: []int{5, 6}}
	t.add("", "SEQ", "KIND", "SHA", "VERSION", "OUTCOME", "TOOK", "STARTED")
	for _, r := range records {
		span := ""
		if !r.SettledAt.IsZero() {
			span = release.Took(r.SettledAt.Sub(r.StartedAt))
		}
		outcome := string(r.Outcome)
		if r.Outcome == release.Settled && !r.Parity {
			outcome += ", drift"
		}
		if r.Withdrawn {
			outcome += ", withdrawn"
		}
		kind := string(r.Kind)
		if r.Adopted && r.Seq == 0 {
			kind = "found"
		}
		t.add(r.Reason, fmt.Sprint(r.Seq), kind, dash(release.Short(r.SHA)), dash(r.Version), outcome, span, r.StartedAt.UTC().Format("2006-01-02 15:04Z"))
	}
	t.write(w)
}

// Findings writes what is known before anything changes, each with what to do. Those that
// are allowed by their code refuse nothing.
func Findings(w io.Writer, findings []release.Finding, allow []release.Code) {
	for _, f := range findings {
		sign, allowed := "✗", ""
		switch {
		case f.Severity == release.Warns:
			sign = "·"
		case release.Refuse([]release.Finding{f}, allow) == nil:
			sign, allowed = "·", " (allowed)"
		}
		fmt.Fprintf(w, "%s %s%s\n", sign, f, allowed)
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
