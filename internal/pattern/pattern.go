// Package pattern has regular expressions that are compiled when they are first used: all
// that shipit knows take 2 ms at the start of every command, which uses a few of them.
package pattern

import (
	"regexp"
	"sync"
)

// Lazy is the regular expression as a function, which panics if it is none.
func Lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
