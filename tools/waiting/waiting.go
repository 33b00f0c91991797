// Package waiting turns a wait into lines that say what is waited for and about
// how long still.
package waiting

import (
	"fmt"
	"time"
)

// A wait that is over at once is not worth a line. One that goes on is told again
// every five seconds in its first minute, and every fifteen after it.
const atOnce, often, soon, seldom = 200 * time.Millisecond, 5 * time.Second, time.Minute, 15 * time.Second

// Left estimates how long a wait still takes that has taken so long already. 0 or
// less is not known at the beginning, and later longer than expected.
type Left func(took time.Duration) time.Duration

// About is a wait that usually takes as long as usual.
func About(usual time.Duration) Left {
	return func(took time.Duration) time.Duration { return usual - took }
}

// For says what is waited for, soon and again and again until done is called. It
// calls say from a goroutine of its own, and never after done; a nil say is silent.
func For(say func(string), what string, left Left) (done func()) {
	if say == nil {
		return func() {}
	}
	start := time.Now()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for next := atOnce; ; {
			select {
			case <-over:
				return
			case <-time.After(next):
			}
			took := time.Since(start)
			if next == atOnce {
				took = 0
			}
			say(Line(what, took, left(took)))
			next = often
			if took >= soon {
				next = seldom
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// Line is what is said of a wait. What comes before " (" stays the same from
// line to line.
func Line(what string, took, left time.Duration) string {
	switch {
	case left <= 0 && took < time.Second:
		return what
	case left > 0 && took < time.Second:
		return fmt.Sprintf("%s (about %s)", what, span(left))
	case left > 0:
		return fmt.Sprintf("%s (%s so far, about %s left)", what, span(took), span(left))
	}
	return fmt.Sprintf("%s (%s so far, longer than expected)", what, span(took))
}

// span is a duration as people say it: by a second, five seconds or half a minute.
func span(d time.Duration) string {
	unit := 30 * time.Second
	switch {
	case d < 10*time.Second:
		unit = time.Second
	case d < 90*time.Second:
		unit = 5 * time.Second
	}
	d = max(d.Round(unit), time.Second)
	if d < 90*time.Second {
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	if d%time.Minute != 0 {
		return fmt.Sprintf("%d½ min", d/time.Minute)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}
