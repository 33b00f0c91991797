package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen gives a function that writes lines about what is waited for, from
// several goroutines. On a terminal a line takes the place of the one before if
// both are about the same.
func screen(out io.Writer, terminal bool) func(string) {
	var mu sync.Mutex
	last := ""
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		what, _, _ := strings.Cut(line, " (")
		if terminal && what == last {
			fmt.Fprint(out, "\033[A\033[K")
		}
		last = what
		fmt.Fprintln(out, "·", line)
	}
}
