package release

import (
	"fmt"
	"strings"
)

// AllowError says why --allow does not take what was asked for.
type AllowError struct {
	Asked string
	Meant Code // the most similar code that can be allowed; empty if none is similar
	known bool
}

func (e *AllowError) Error() string {
	switch {
	case e.known:
		return fmt.Sprintf("%s can't be allowed: it is no finding that refuses a release, or one that nobody can answer for", e.Asked)
	case e.Meant != "":
		return fmt.Sprintf("there is no code %q; did you mean %s?", e.Asked, e.Meant)
	default:
		return fmt.Sprintf("there is no code %q", e.Asked)
	}
}

// ParseAllowed reads a code that a finding must not be refused for. An
// *AllowError says that there is no such code, or none that can be allowed.
func ParseAllowed(text string) (Code, error) {
	entry, ok := Code(text).Entry()
	switch {
	case ok && entry.Allow:
		return entry.Code, nil
	case ok:
		return "", &AllowError{Asked: text, known: true}
	default:
		return "", &AllowError{Asked: text, Meant: similar(text)}
	}
}

// similar is the code that can be allowed and that takes the fewest edits to
// come from text; empty if the nearest takes more than a third of its length.
func similar(text string) Code {
	var nearest Code
	fewest := len(text)/3 + 1
	for _, e := range Codes() {
		if n := edits(strings.ToLower(text), strings.ToLower(string(e.Code))); e.Allow && n < fewest {
			nearest, fewest = e.Code, n
		}
	}
	return nearest
}

// edits counts the letters to insert, delete or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
