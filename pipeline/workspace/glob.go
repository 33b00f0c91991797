package workspace

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// globSet matches folders as workspaces do: any of the globs, and none of those
// that begin with "!".
func globSet(globs []string) (func(dir string) bool, error) {
	var in, out []*regexp.Regexp
	for _, g := range globs {
		not := strings.HasPrefix(g, "!")
		re, err := globRegexp(strings.TrimPrefix(g, "!"))
		if err != nil {
			return nil, fmt.Errorf("glob %q: %w", g, err)
		}
		if not {
			out = append(out, re)
		} else {
			in = append(in, re)
		}
	}
	any := func(list []*regexp.Regexp, dir string) bool {
		return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(dir) })
	}
	return func(dir string) bool { return any(in, dir) && !any(out, dir) }, nil
}

var globTokens = pattern.Lazy(`\*\*/|/\*\*$|\*\*|\*|\?|\{|\}|,|.`)

// globRegexp translates **, *, ? and {a,b}.
func globRegexp(glob string) (*regexp.Regexp, error) {
	glob = path.Clean(strings.TrimPrefix(glob, "./"))
	depth := 0
	expr := globTokens().ReplaceAllStringFunc(glob, func(tok string) string {
		switch tok {
		case "**/":
			return `(?:.*/)?`
		case "/**":
			return `(?:/.*)?`
		case "**":
			return `.*`
		case "*":
			return `[^/]*`
		case "?":
			return `[^/]`
		case "{":
			depth++
			return `(?:`
		case "}":
			depth--
			return `)`
		case ",":
			if depth > 0 {
				return "|"
			}
		}
		return regexp.QuoteMeta(tok)
	})
	return regexp.Compile("^" + expr + "$")
}
