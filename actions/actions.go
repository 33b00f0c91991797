// Package actions tells GitHub Actions what a command did: a record, findings or an
// error become annotations, the summary of the job and outputs for later steps.
package actions

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Step is the step of a job that a command runs in. The zero value, outside of GitHub
// Actions, writes nothing.
type Step struct {
	summary string // file that takes Markdown
	output  string // file that takes names and values
	log     io.Writer
}

// Current is the step that the environment describes. Annotations go to log.
func Current(log io.Writer) Step {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return Step{}
	}
	return Step{summary: os.Getenv("GITHUB_STEP_SUMMARY"), output: os.Getenv("GITHUB_OUTPUT"), log: log}
}

// ReportRecord writes the job summary, the outputs and, for an error, an annotation.
func (s Step) ReportRecord(r release.Record, err error) error {
	if s.log == nil {
		return nil
	}
	if err != nil {
		s.annotate("error", fmt.Sprintf("shipit %s %s", r.Kind, r.Outcome), "", err.Error())
	}
	if e := appendTo(s.summary, summaryMarkdown(r)); e != nil {
		return e
	}
	return appendTo(s.output, outputsOf(r))
}

// ReportError reports a command that ended before it had a record: an annotation for
// each cause, the causes in the summary, and the outcome.
func (s Step) ReportError(command string, err error) error {
	if s.log == nil {
		return nil
	}
	var (
		refusal  *release.Refusal
		fault    *config.Error
		findings = []release.Finding{{Severity: release.Refuses, Message: release.OneLine(err.Error())}}
	)
	switch {
	case errors.As(err, &refusal):
		findings = refusal.Findings
	case errors.As(err, &fault):
		findings[0].Object = lineOf(fault)
	}
	if e := s.ReportFindings(command, findings); e != nil {
		return e
	}
	return appendTo(s.output, output("outcome", string(release.Refused)))
}

// ReportFindings writes an annotation for each finding, and all of them into the summary.
func (s Step) ReportFindings(command string, findings []release.Finding) error {
	if s.log == nil || len(findings) == 0 {
		return nil
	}
	var b strings.Builder
	sign := "❌"
	if release.Refuse(findings, nil) == nil {
		sign = "⚠️"
	}
	fmt.Fprintf(&b, "## %s %s\n\n", sign, command)
	for _, f := range findings {
		level := "error"
		if f.Severity == release.Warns {
			level = "warning"
		}
		line := f.String()
		if f.Code == "" {
			line = f.Message
		}
		s.annotate(level, strings.TrimSpace(command+" "+string(f.Code)), f.Object, line)
		fmt.Fprintf(&b, "- %s\n", escapeMarkdown(release.OneLine(line)))
		if f.Hint != "" {
			fmt.Fprintf(&b, "  → %s\n", escapeMarkdown(release.OneLine(f.Hint)))
		}
	}
	return appendTo(s.summary, b.String()+"\n")
}

// annotate writes one workflow command. If object is file:line, GitHub shows the
// annotation at that line of the diff.
func (s Step) annotate(level, title, object, message string) {
	at := ""
	if file, line, ok := strings.Cut(object, ":"); ok && isNumber(line) && !strings.ContainsAny(file, "@ ") {
		at = fmt.Sprintf("file=%s,line=%s,", escapeProperty(file), line)
	}
	fmt.Fprintf(s.log, "::%s %stitle=%s::%s\n", level, at, escapeProperty(title), escapeCommand(message))
}

func lineOf(e *config.Error) string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.Line)
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// outputsOf are the outputs of a record, for later steps and jobs.
func outputsOf(r release.Record) string {
	var b strings.Builder
	for _, pair := range [][2]string{
		{"sha", r.SHA}, {"version", r.Version}, {"seq", strconv.FormatInt(r.Seq, 10)},
		{"parity", strconv.FormatBool(r.Parity)}, {"outcome", string(r.Outcome)},
	} {
		b.WriteString(output(pair[0], pair[1]))
	}
	for i, role := range r.Roles {
		if i == 0 {
			b.WriteString(output("digest", role.Digest))
		}
		b.WriteString(output("digest-"+role.Name, role.Digest))
	}
	return b.String()
}

// output is one output. A value of several lines is put between delimiters that it
// does not contain, so that it cannot set other outputs.
func output(name, value string) string {
	if !strings.ContainsAny(value, "\r\n") {
		return name + "=" + value + "\n"
	}
	end := "end-of-" + name
	for strings.Contains(value, end) {
		end += "-"
	}
	return name + "<<" + end + "\n" + value + "\n" + end + "\n"
}

// summaryMarkdown is a record for the summary page of a job.
func summaryMarkdown(r release.Record) string {
	var b strings.Builder
	sign := map[bool]string{true: "✅", false: "❌"}
	fmt.Fprintf(&b, "## %s %s %s %s\n\n", sign[r.Good()], r.App, r.Kind, r.ID())
	fmt.Fprintf(&b, "**%s** · version `%s` · commit `%s`", r.OutcomeText(), cmp.Or(r.Version, "-"), r.SHA)
	if !r.SettledAt.IsZero() {
		fmt.Fprintf(&b, " · took %s", release.Took(r.SettledAt.Sub(r.StartedAt)))
	}
	b.WriteString("\n\n| role | target | digest | live | ready | parity | took |\n|---|---|---|---|---|---|---|\n")
	for _, role := range r.Roles {
		fmt.Fprintf(&b, "| %s | %s | `%s` | `%s` | %d/%d | %s | %d ms |\n", role.Name, role.Target, release.ShortDigest(role.Digest),
			cmp.Or(release.ShortDigest(role.LiveDigest), "-"), role.Ready, role.Desired, sign[role.InParity], role.TookMS)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\n### ❌ %s\n\n%s\n", f.Code, escapeMarkdown(f.Error()))
		if len(f.Log) > 0 {
			log := strings.Join(f.Log, "\n")
			fmt.Fprintf(&b, "\n%[1]stext\n%[2]s\n%[1]s\n", fence(log), log)
		}
		if f.Hint != "" {
			fmt.Fprintf(&b, "\n→ %s\n", escapeMarkdown(f.Hint))
		}
	}
	if r.Reason != "" && len(r.Failures) == 0 {
		fmt.Fprintf(&b, "\n%s\n", escapeMarkdown(r.Reason))
	}
	return b.String() + "\n"
}

// fence is a row of backticks longer than any in text, so that text cannot end its
// code block.
func fence(text string) string {
	f := "```"
	for strings.Contains(text, f) {
		f += "`"
	}
	return f
}

func appendTo(path, text string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// escapeCommand escapes the data of a workflow command; the rules are those of
// the Actions toolkit.
func escapeCommand(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// escapeProperty escapes a property of a workflow command.
func escapeProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapeCommand(s))
}

func escapeMarkdown(s string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "|", "\\|").Replace(s)
}
