package check

import (
	"fmt"
	"regexp"
	"strings"
)

// glob turns a path pattern into a regular expression over the whole path: * is
// anything but a slash, ** anything, **/ also nothing, and a pattern that ends
// with a slash is everything below. questions says what ? means: one character
// in a shell's pattern, and in one of GitHub's that the character before it may
// be missing.
func glob(pattern, questions string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("^")
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/") && (len(rest) == len(pattern) || pattern[len(pattern)-len(rest)-1] == '/'):
			b.WriteString("(?:.*/)?")
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString(questions)
			rest = rest[1:]
		case rest[0] == '[' && strings.Contains(rest, "]"):
			end := strings.Index(rest, "]") + 1
			b.WriteString(rest[:end])
			rest = rest[end:]
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
			rest = rest[1:]
		}
	}
	b.WriteString("$")
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("%q is no path pattern", pattern)
	}
	return re, nil
}

const (
	oneCharacter = "[^/]" // ? of a shell
	maybeMissing = "?"    // ? of GitHub
)
