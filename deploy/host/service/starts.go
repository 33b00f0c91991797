package service

import (
	"encoding/xml"
	"strings"
)

// starts is what the file of a service says that it starts.
type starts struct {
	Command []string
	Dir     string // "" if it says none
}

// startsOf reads the file of a service: of a unit its last ExecStart, of a plist its
// program and arguments. What cannot be read is empty.
func startsOf(kind, text string) starts {
	if kind == "launchd" {
		return plistStarts(text)
	}
	var s starts
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "ExecStart":
			s.Command = unitWords(strings.TrimLeft(value, "@-:+!"))
		case "WorkingDirectory":
			s.Dir = strings.TrimPrefix(value, "-")
		}
	}
	return s
}

// unitWords splits a command line of a unit at its blanks; quotes keep words together.
func unitWords(line string) []string {
	var words []string
	var word strings.Builder
	quote, begun := rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// plistStarts reads the strings of a plist that stand below the keys Program,
// ProgramArguments and WorkingDirectory of its outermost dictionary.
func plistStarts(text string) starts {
	var s starts
	var arguments []string
	key, depth := "", 0
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch element := token.(type) {
		case xml.EndElement:
			if element.Name.Local == "dict" {
				depth--
			}
		case xml.StartElement:
			switch element.Name.Local {
			case "dict":
				depth++
			case "key", "string":
				var value string
				if d.DecodeElement(&value, &element) != nil || depth != 1 {
					continue
				}
				switch {
				case element.Name.Local == "key":
					key = value
				case key == "Program":
					s.Command = []string{value}
				case key == "ProgramArguments":
					arguments = append(arguments, value)
				case key == "WorkingDirectory":
					s.Dir = value
				}
			}
		}
	}
	switch {
	case len(s.Command) == 0:
		s.Command = arguments
	case len(arguments) > 1:
		s.Command = append(s.Command, arguments[1:]...) // the first is only its name
	}
	return s
}
