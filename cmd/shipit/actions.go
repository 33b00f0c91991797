package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// actions is the GitHub Actions step that a command runs in; its zero value is
// no step and writes nothing.
type actions struct {
	summary string // file that takes Markdown
	output  string // file that takes name=value lines
	err     io.Writer
}

func actionsOf(g *globals) actions {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return actions{}
	}
	return actions{summary: os.Getenv("GITHUB_STEP_SUMMARY"), output: os.Getenv("GITHUB_OUTPUT"), err: g.term.err}
}

// tell writes the job summary, the outputs, and an annotation where the record
// is no success.
func (a actions) tell(r release.Record, err error) error {
	if a.err == nil {
		return nil
	}
	if err != nil {
		fmt.Fprintf(a.err, "::error title=shipit %s %s::%s\n", r.Kind, r.Outcome, escapeCommand(oneLine(err.Error())))
	}
	if e := appendTo(a.summary, summaryMarkdown(r)); e != nil {
		return e
	}
	var out strings.Builder
	fmt.Fprintf(&out, "sha=%s\nversion=%s\nseq=%d\nparity=%t\noutcome=%s\n", r.SHA, r.Version, r.Seq, r.Parity, r.Outcome)
	for i, role := range r.Roles {
		if i == 0 {
			fmt.Fprintf(&out, "digest=%s\n", role.Digest)
		}
		fmt.Fprintf(&out, "digest-%s=%s\n", role.Name, role.Digest)
	}
	return appendTo(a.output, out.String())
}

// summaryMarkdown is a record for the summary page of a job.
func summaryMarkdown(r release.Record) string {
	var b strings.Builder
	sign := map[bool]string{true: "✅", false: "❌"}
	fmt.Fprintf(&b, "## %s %s %s %s\n\n", sign[r.Good()], r.App, r.Kind, r.ID())
	fmt.Fprintf(&b, "**%s** · version `%s` · commit `%s`", outcomeText(r), versionOr(r), r.SHA)
	if !r.SettledAt.IsZero() {
		fmt.Fprintf(&b, " · took %s", took(r.SettledAt.Sub(r.StartedAt)))
	}
	b.WriteString("\n\n| role | target | digest | live | ready | parity | took |\n|---|---|---|---|---|---|---|\n")
	for _, role := range r.Roles {
		fmt.Fprintf(&b, "| %s | %s | `%s` | `%s` | %d/%d | %s | %d ms |\n", role.Name, role.Target, release.ShortDigest(role.Digest),
			dash(release.ShortDigest(role.LiveDigest)), role.Ready, role.Desired, sign[role.InParity], role.TookMS)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\n### ❌ %s\n\n%s\n", f.Code, escapeMarkdown(f.Error()))
		if len(f.Log) > 0 {
			fmt.Fprintf(&b, "\n````text\n%s\n````\n", strings.Join(f.Log, "\n"))
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

func escapeMarkdown(s string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "|", "\\|").Replace(s)
}
