package release

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// shortestSecret is how long a value must be to be hidden: a shorter one would
// hide ordinary text, and could be guessed from what is left.
const shortestSecret = 4

// looksSecret finds what is a secret by its looks: named so, or the password of
// a URL, or the credentials of a header.
var looksSecret = pattern.Lazy(`(?i)((?:password|passwd|secret|token|api[_-]?key|authorization|signing[_-]?key|credential|["']auth)s?\\*["']?\s*[=:]\s*\\*["']?(?:bearer\s+|basic\s+)?)[^\s"'\\,;]{4,}|(://[^/\s:@]*:)[^@\s]+(@)`)

// Redact hides secrets in a text: the values, each also line by line and as JSON,
// URLs and base64 hold it, and whatever looks like a secret by its name. What a terminal would obey is
// made visible. Redact before a text is cut, since a part of a value is not found.
func Redact(text string, values []string) string {
	for _, v := range spellings(values) {
		text = strings.ReplaceAll(text, v, "[redacted]")
	}
	return looksSecret().ReplaceAllString(Visible(text), "$1$2[redacted]$3")
}

// spellings are the values as they may appear in a text, the longest first, so
// that one that begins another leaves no rest of it.
func spellings(values []string) []string {
	var all []string
	for _, v := range values {
		parts := append([]string{v}, strings.Split(v, "\n")...)
		for _, part := range parts {
			if part = strings.TrimSpace(part); len(part) >= shortestSecret {
				all = append(all, part)
			}
		}
		if len(v) >= shortestSecret {
			all = append(all, encodings(v)...)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(all)
}

// encodings are a value as it stands in JSON, in JSON that is a string of other JSON,
// in a URL, and in base64: whole, and within the base64 of a longer text, where the
// first and the last characters depend on what is beside it.
func encodings(v string) []string {
	all := []string{url.QueryEscape(v), url.PathEscape(v), base64.StdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v))}
	inner := v
	for range 3 {
		quoted, _ := json.Marshal(inner)
		all = append(all, string(quoted[1:len(quoted)-1]))
		inner = inJSON(inner)
		all = append(all, inner)
	}
	for before := range 3 {
		whole := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00"[:before] + v))
		first, last := (before*8+5)/6, (before+len(v))*8/6
		if inner := whole[first:last]; len(inner) > shortestSecret {
			all = append(all, inner)
		}
	}
	return all
}

// inJSON is a text as most programs write it in JSON: with < > & as they are.
func inJSON(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // of a string it cannot fail
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}
