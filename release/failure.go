package release

import (
	"fmt"
	"slices"
	"strings"
)

// Failure is why a role did not come up: the cause in one line, the evidence,
// and what to do. It is an error, and it is stored with the record.
type Failure struct {
	Role     string   `json:"role"`
	Code     Code     `json:"code"`               // stable: ImageNotFound, CrashLoop, Unschedulable, …
	Object   string   `json:"object,omitempty"`   // Pod joelclaw/system-bus-worker-7d9f, Service com.joel.gateway
	Message  string   `json:"message"`            // the cause, one line
	ExitCode *int     `json:"exitCode,omitempty"` // of the process that ended
	Signal   string   `json:"signal,omitempty"`
	Log      []string `json:"log,omitempty"`    // the last lines it wrote, redacted and capped
	Events   []string `json:"events,omitempty"` // what the platform said of it
	Hint     string   `json:"hint,omitempty"`   // what to do next
}

// Error is the cause in one line: code, object, message.
func (f *Failure) Error() string {
	var b strings.Builder
	if f.Role != "" {
		fmt.Fprintf(&b, "%s: ", f.Role)
	}
	b.WriteString(string(f.Code))
	if f.Object != "" {
		fmt.Fprintf(&b, " in %s", f.Object)
	}
	if f.Message != "" {
		fmt.Fprintf(&b, ": %s", f.Message)
	}
	return b.String()
}

// Severity says what a Finding does to a release.
type Severity string

const (
	Refuses Severity = "refuse" // nothing is changed unless its code is allowed
	Warns   Severity = "warn"   // shown, and the release goes on
)

// Finding is something known before anything changes: from the tree, the
// registry, the cluster or the host.
type Finding struct {
	Code     Code     `json:"code"` // stable, and what --allow takes
	Severity Severity `json:"severity"`
	Role     string   `json:"role,omitempty"`
	Object   string   `json:"object,omitempty"` // an object, or file:line
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
	Fixed    bool     `json:"fixed,omitempty"` // --allow does not apply to it
}

// String is the finding as one line.
func (f Finding) String() string {
	var b strings.Builder
	if f.Role != "" {
		fmt.Fprintf(&b, "%s: ", f.Role)
	}
	b.WriteString(string(f.Code))
	if f.Object != "" {
		fmt.Fprintf(&b, " %s", f.Object)
	}
	fmt.Fprintf(&b, ": %s", f.Message)
	return b.String()
}

// Allowable reports whether --allow with the finding's code lets a release go on.
func (f Finding) Allowable() bool {
	entry, ok := f.Code.entry()
	return ok && entry.Allow && !f.Fixed
}

// Refusal is the error of a release that was stopped before anything changed.
type Refusal struct{ Findings []Finding }

func (r *Refusal) Error() string {
	lines := make([]string, 0, len(r.Findings))
	for _, f := range r.Findings {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "; ")
}

// Hint is what to do about the findings, or which of them can be allowed; "" if
// neither is known.
func (r *Refusal) Hint() string {
	var hints, codes []string
	for _, f := range r.Findings {
		if f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
		if f.Allowable() && !slices.Contains(codes, "--allow "+string(f.Code)) {
			codes = append(codes, "--allow "+string(f.Code))
		}
	}
	switch {
	case len(hints) > 0:
		return strings.Join(hints, "; ")
	case len(codes) > 0:
		return "fix it, or release in spite of it with " + strings.Join(codes, " ")
	default:
		return ""
	}
}

// AllowHint is how a release goes on in spite of the findings; "" if one of them
// cannot be allowed.
func (r *Refusal) AllowHint() string {
	var codes []string
	for _, f := range r.Findings {
		if !f.Allowable() {
			return ""
		}
		if code := "--allow " + string(f.Code); !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	return "fix it, or go on in spite of it with " + strings.Join(codes, " ")
}

// Refuse returns a *Refusal of the findings that stop a release and are not
// allowed by code, or nil if there are none.
func Refuse(findings []Finding, allowed []Code) error {
	var stop []Finding
	for _, f := range findings {
		if f.Severity == Refuses && (!f.Allowable() || !slices.Contains(allowed, f.Code)) {
			stop = append(stop, f)
		}
	}
	if len(stop) == 0 {
		return nil
	}
	return &Refusal{Findings: stop}
}

// OneLine joins the lines of a text, such as a joined error's, with "; ", and makes
// visible what a terminal would obey.
func OneLine(s string) string {
	return Visible(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}
