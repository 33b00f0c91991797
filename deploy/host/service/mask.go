package service

import (
	"regexp"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/release"
)

// secretName is the name of a variable whose value is hidden however short it is.
var secretName = pattern.Lazy(`(?i)pass|secret|token|key|credential|pin$`)

// Mask returns what hides the values of an environment file in a text. A value of
// less than four characters would make a log unreadable: it is hidden where it is a
// word, and only if the variable's name says that it is a secret.
func Mask(envFile string) func(string) string {
	var values, short []string
	for name, value := range parseEnvFile(envFile) {
		values = append(values, value)
		if value != "" && len(value) < 4 && secretName().MatchString(name) {
			short = append(short, regexp.QuoteMeta(value))
		}
	}
	words := regexp.MustCompile(`(^|[^\pL\pN_])(?:` + strings.Join(short, "|") + `)($|[^\pL\pN_])`)
	return func(text string) string {
		text = release.Redact(text, values)
		if len(short) > 0 {
			text = words.ReplaceAllString(text, "${1}[redacted]$2")
		}
		return text
	}
}

// secretWord is a word of a command line after which, or in which, a secret may
// stand.
var secretWord = pattern.Lazy(`(?i)([\w.-]*(?:pass(?:word|wd)?|secret|token|api[_-]?key|credential)[\w.-]*)(=|:|\s+)\S+`)

// MaskWords hides what looks like a secret in a line of a log or a command line.
func MaskWords(line string) string { return secretWord().ReplaceAllString(line, "$1$2***") }

// shown is a command line fit for a message: short, and without what looks like
// a secret.
func shown(command string) string {
	const limit = 160
	command = MaskWords(strings.Join(strings.Fields(command), " "))
	if len(command) > limit {
		command = command[:limit] + "…"
	}
	if command == "" {
		command = "no command line"
	}
	return command
}
