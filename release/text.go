package release

import (
	"fmt"
	"time"
)

// BeforeFirst says what #0 is, in words.
const BeforeFirst = "what ran before the first release"

// OutcomeText is the outcome of a record in words: "settled, in parity".
func (r Record) OutcomeText() string {
	s := string(r.Outcome)
	switch {
	case r.Outcome == Restored:
		s += fmt.Sprintf(" (#%d runs again)", r.Restored)
	case r.Outcome == Settled && r.Parity:
		s += ", in parity"
	case r.Outcome == Settled:
		s += ", NOT in parity"
	}
	if r.Withdrawn {
		s += ", withdrawn"
	}
	if r.Unchanged {
		s += "; it runs already, nothing was changed"
	}
	return s
}

// Took is a duration for people: 240ms, 2.1s, 1m12s.
func Took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}
