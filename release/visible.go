package release

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible spells out what a terminal would obey instead of showing it: a program's
// output could clear the screen, set the title, or overwrite what stands there. Tabs
// and the ends of lines stay.
func Visible(text string) string {
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size > 1:
			b.WriteRune(r)
		case obeyed(r) && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case obeyed(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		text = text[size:]
	}
	return b.String()
}

// obeyed reports whether a terminal may act on a character. A byte that is no UTF-8
// may be a control character of eight bits.
func obeyed(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r == utf8.RuneError:
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
