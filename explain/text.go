package explain

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is the longest line of a text, where words can be wrapped.
const width = 80

// Write writes an answer for people.
func (a Answer) Write(w io.Writer) {
	fmt.Fprintf(w, "%s   %s\n", a.title(), a.typeText())
	fmt.Fprintf(w, "\n%s\n", wrap(a.Description, ""))
	a.writeFacts(w)
	if len(a.Settings) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSettings:")
	for _, s := range a.Settings {
		fmt.Fprintf(w, "  %s   %s\n%s\n", last(s.Name), s.typeText(), wrap(s.Description, "      "))
	}
}

func (a Answer) title() string {
	if a.Name == "" {
		return "shipit.yaml"
	}
	return a.Name
}

func (a Answer) typeText() string {
	if a.Required {
		return a.Type + ", required"
	}
	return a.Type
}

// writeFacts writes what there is of default, choices, example and remedy.
func (a Answer) writeFacts(w io.Writer) {
	facts := [][2]string{{"Default", strings.Trim(a.Default, "()")}, {"One of", strings.Join(a.Choices, ", ")}, {"Example", a.example()}, {"What to do", a.Remedy}}
	if a.Kind == "code" && strings.Contains(a.Type, "finding") {
		facts = append(facts, [2]string{"Allow", allowText(a)})
	}
	before := "\n"
	for _, fact := range facts {
		if fact[1] != "" {
			fmt.Fprintf(w, "%s%-10s  %s\n", before, fact[0], strings.TrimSpace(wrap(fact[1], strings.Repeat(" ", 12))))
			before = ""
		}
	}
}

func (a Answer) example() string {
	if a.Example == "" {
		return ""
	}
	return strings.TrimSuffix(last(a.Name), "[]") + ": " + a.Example
}

func allowText(a Answer) string {
	if a.Allow {
		return fmt.Sprintf("--allow %s lets a release go on in spite of it.", a.Name)
	}
	return "A release can't go on in spite of it."
}

// wrap breaks text between words, every line with the indent.
func wrap(text, indent string) string {
	var b strings.Builder
	b.WriteString(indent)
	column := len(indent)
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
