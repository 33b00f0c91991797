package scaffold

import (
	"path"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

var (
	portRule   = pattern.Lazy(`(?i)\b(\w*port)\b["']?\s*(?:\?\?|\|\||=|:)\s*["'(]?(\d{2,5})\b`)
	theirsRule = pattern.Lazy(`(?i)redis|postgres|pg_|sql|db_|mongo|smtp|amqp|nats|kafka`)
	healthRule = pattern.Lazy(`(?:===?|case)\s*["'](/(?:healthz?|readyz?|livez))["']`)
)

// served is the port that a program listens on, and the path by which it is asked how it
// is, as the source file of its start tells. A text is empty if the file does not tell; so
// are both if it tells of several ports.
func (i *image) served(f files) (file string, port, health located) {
	command, _ := i.command()
	file = path.Join(i.member.dir, script(command))
	text := f.text(file)
	for _, m := range portRule().FindAllStringSubmatchIndex(text, -1) {
		number := text[m[4]:m[5]]
		switch {
		case theirsRule().MatchString(text[m[2]:m[3]]):
		case port.text == "":
			port = located{number, lineAt(text, m[0])}
		case port.text != number:
			return file, located{}, located{}
		}
	}
	if m := healthRule().FindStringSubmatchIndex(text); m != nil {
		health = located{text[m[2]:m[3]], lineAt(text, m[0])}
	}
	return file, port, health
}

// lineAt is the number of the line at an offset.
func lineAt(text string, offset int) int { return strings.Count(text[:offset], "\n") + 1 }
