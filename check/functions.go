package check

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/joelhooks/shipit/release"
)

// functions looks for function ids that are declared twice in the lists of the
// configuration: in one list, or in two unless that is allowed.
func (c *checks) functions(context.Context) error {
	first := map[string]string{}
	for i, file := range c.Config.Functions.Lists {
		file = path.Clean(file)
		if !c.has(file) {
			c.refuse(release.CodeFunctionList, c.config.position(fmt.Sprintf("functions.lists[%d]", i)), file+" is not in the commit", "")
			continue
		}
		data, err := c.Tree.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		ids := listed(string(data))
		if len(ids) == 0 && !strings.Contains(string(data), "...") {
			c.warn(release.CodeNoFunctionLeft, file, "it lists no function any more", "retire the role that serves it: take it out of roles: and functions.lists; the next release takes it away")
		}
		within := map[string]string{}
		for _, id := range ids {
			position := at(file, id.line)
			if before, twice := within[id.text]; twice {
				c.refuse(release.CodeDuplicateFunction, position, fmt.Sprintf("%s is declared twice, first in %s", id.text, before), "remove one of them")
				continue
			}
			within[id.text] = position
			if !id.literal {
				// The same name in another file may be another thing: what counts is the id.
				known := false
				if id.text, known = c.idOf(file, id.text); !known {
					continue
				}
			}
			if before, twice := first[id.text]; twice && !slices.Contains(c.Config.Functions.AllowDuplicates, id.text) {
				c.refuse(release.CodeDuplicateFunction, position, fmt.Sprintf("%s is in another role's list too, in %s", id.text, before),
					"remove it from one of them, or name it in functions.allowDuplicates")
				continue
			}
			first[id.text] = position
		}
	}
	return nil
}

// functionID is one entry of a list: a literal id, or the name of a constant.
type functionID struct {
	text    string
	line    int
	literal bool
}

// listed finds the ids in a TypeScript or JavaScript file: the strings and names
// that are items of an array, the first argument of a call that is one, and the
// id of an object that is an item or a call's first argument. Arrays inside
// objects are no lists of functions.
func listed(source string) []functionID {
	l := &listReader{tokens: lex(source)}
	for i := range l.tokens {
		l.token(i)
	}
	return l.ids
}

type listReader struct {
	tokens []token
	open   []bracket
	ids    []functionID
}

type bracket struct {
	kind byte // one of [ ( {
	list bool // its items are functions
}

func (l *listReader) token(i int) {
	t := l.tokens[i]
	switch {
	case t.kind == punctuation && strings.Contains("[({", t.text):
		l.open = append(l.open, bracket{t.text[0], l.opensList(i)})
	case t.kind == punctuation && strings.Contains("])}", t.text):
		if len(l.open) > 0 {
			l.open = l.open[:len(l.open)-1]
		}
	case t.kind == literal && l.isID(i):
		l.ids = append(l.ids, functionID{t.text, t.line, true})
	case t.kind == name && l.inside('[') && l.begins(i) && (l.after(i) == "," || l.after(i) == "]"):
		l.ids = append(l.ids, functionID{t.text, t.line, false})
	}
}

// opensList reports whether what a bracket holds is a list of functions, or one
// function in such a list: at the top of the file, or in a list itself.
func (l *listReader) opensList(i int) bool {
	top := len(l.open) == 0
	item := l.inside('[') && l.begins(i)
	argument := l.inside('(') && l.before(i) == "("
	switch l.tokens[i].text {
	case "[":
		// An index, as in names[0], is none.
		return item || argument || top && l.before(i) != "" && !strings.Contains(")]", l.before(i))
	case "(":
		return top || l.inside('[') || l.inside('(')
	default:
		return item || argument
	}
}

func (l *listReader) isID(i int) bool {
	switch {
	case l.inside('['), l.inside('('):
		first := l.begins(i)
		if l.inside('(') {
			// The first argument of a call that is an item: preceded by its name.
			first = l.before(i) == "(" && i > 1 && l.tokens[i-2].kind == name && len(l.open) > 1
		}
		return first
	case l.inside('{'):
		return i > 1 && l.before(i) == ":" && l.tokens[i-2].text == "id"
	}
	return false
}

// begins reports whether a token begins an item of an array.
func (l *listReader) begins(i int) bool { return l.before(i) == "[" || l.before(i) == "," }

func (l *listReader) inside(kind byte) bool {
	return len(l.open) > 0 && l.open[len(l.open)-1] == bracket{kind, true}
}

// before is the punctuation directly before a token, "" if there is none.
func (l *listReader) before(i int) string {
	if i == 0 || l.tokens[i-1].kind != punctuation {
		return ""
	}
	return l.tokens[i-1].text
}

func (l *listReader) after(i int) string {
	if i+1 >= len(l.tokens) || l.tokens[i+1].kind != punctuation {
		return ""
	}
	return l.tokens[i+1].text
}

type tokenKind int

const (
	punctuation tokenKind = iota
	name                  // identifiers, with dots: inngest.createFunction
	literal               // strings without substitutions
	other                 // numbers, templates, regular expressions
)

type token struct {
	kind tokenKind
	text string
	line int
}

// lex cuts source into tokens, without comments.
func lex(source string) []token {
	var tokens []token
	line := 1
	for rest := source; rest != ""; {
		t, n := next(rest, tokens)
		if n == 0 {
			break
		}
		if t.text != "" {
			t.line = line
			tokens = append(tokens, t)
		}
		line += strings.Count(rest[:n], "\n")
		rest = rest[n:]
	}
	return tokens
}

// next reads one token and says how long it is; a space or comment has no text.
func next(s string, before []token) (token, int) {
	c := rune(s[0])
	switch {
	case strings.HasPrefix(s, "//"):
		return token{}, upTo(s, "\n")
	case strings.HasPrefix(s, "/*"):
		return token{}, 2 + upTo(s[2:], "*/")
	case unicode.IsSpace(c):
		return token{}, 1
	case c == '"' || c == '\'' || c == '`':
		body, n := quoted(s)
		if n > 1 && !(c == '`' && strings.Contains(body, "${")) {
			return token{kind: literal, text: body}, n
		}
		return token{kind: other, text: string(c)}, n
	case c == '/' && (len(before) == 0 || before[len(before)-1].kind == punctuation && !strings.Contains(")]}", before[len(before)-1].text)):
		_, n := quoted(s) // a regular expression
		return token{kind: other, text: "/"}, n
	case isName(c):
		n := strings.IndexFunc(s, func(r rune) bool { return !isName(r) && r != '.' })
		if n < 0 {
			n = len(s)
		}
		kind := name
		if unicode.IsDigit(c) {
			kind = other
		}
		return token{kind: kind, text: s[:n]}, n
	}
	return token{kind: punctuation, text: string(c)}, len(string(c))
}

func isName(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// upTo is the length of s up to and with end, or all of it.
func upTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// quoted is the text between the quote that s begins with and the next one, and
// the length with both. Only a template goes on after the end of a line; a quote
// that is not closed is a token by itself.
func quoted(s string) (string, int) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == s[0]:
			return s[1:i], i + 1
		case s[i] == '\n' && s[0] != '`':
			return "", 1
		}
	}
	return "", 1
}
