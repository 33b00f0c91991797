package doctor

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// Write writes the report for people.
func (r Report) Write(w io.Writer) {
	width := 0
	for _, c := range r.Checks {
		width = max(width, utf8.RuneCountInString(c.Name))
	}
	signs := map[Status]string{OK: "✓", Note: "·", Failed: "✗", Skipped: "-"}
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s %-*s  %s\n", signs[c.Status], width, c.Name, c.Message)
		if c.Remedy != "" {
			fmt.Fprintf(w, "  %*s  → %s\n", width, "", c.Remedy)
		}
	}
}
