package scaffold

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// page writes YAML line by line.
type page struct {
	strings.Builder
	todos []string
}

// line writes one key. from says where its value was found; "" if it needs no saying.
func (p *page) line(depth int, key, value, from string) {
	p.WriteString(strings.Repeat("  ", depth) + key + ":")
	if value != "" {
		p.WriteString(" " + value)
	}
	if from != "" {
		p.WriteString("  # " + from)
	}
	p.WriteString("\n")
}

// ask writes a key whose value stands in for what only the owner knows.
func (p *page) ask(depth int, key, value, question string) {
	p.line(depth, key, value, "TODO: "+question)
	p.todos = append(p.todos, question)
}

// askAlone writes a question without a key: it is answered by adding one, or by
// deleting the line.
func (p *page) askAlone(depth int, question string) {
	p.WriteString(strings.Repeat("  ", depth) + "# TODO: " + question + "\n")
	p.todos = append(p.todos, question)
}

// note writes a comment of its own.
func (p *page) note(depth int, format string, args ...any) {
	p.WriteString(strings.Repeat("  ", depth) + "# " + fmt.Sprintf(format, args...) + "\n")
}

// variables writes environment variables, one a line.
func (p *page) variables(depth int, key, from string, list []setting) {
	if len(list) == 0 {
		return
	}
	p.line(depth, key, "", from)
	for _, v := range list {
		p.line(depth+1, v.name, strconv.Quote(v.value), "")
	}
}

var plainRule = pattern.Lazy(`^(--?)?[\w./][\w./@=+-]*$`)

// scalar writes texts as items of a YAML list, quoted where necessary.
func scalar(texts ...string) string {
	var items []string
	for _, s := range texts {
		if !plainRule().MatchString(s) || reserved(s) {
			s = strconv.Quote(s)
		}
		items = append(items, s)
	}
	return strings.Join(items, ", ")
}

// reserved reports whether YAML reads a plain text as something else.
func reserved(s string) bool {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "~":
		return true
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// list writes texts as a YAML list in one line.
func list(texts []string) string { return "[" + scalar(texts...) + "]" }
