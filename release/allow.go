package release

import "fmt"

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
	entry, ok := Code(text).entry()
	switch {
	case ok && entry.Allow:
		return entry.Code, nil
	case ok:
		return "", &AllowError{Asked: text, known: true}
	default:
		return "", &AllowError{Asked: text, Meant: Code(Similar(text, allowable()))}
	}
}

// allowable are the codes that can be allowed.
func allowable() []string {
	var codes []string
	for _, e := range Codes() {
		if e.Allow {
			codes = append(codes, string(e.Code))
		}
	}
	return codes
}
