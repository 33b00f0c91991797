package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/release"
)

type parser struct {
	file string
	err  error // the first fault

	nodes int          // that expand has made so far
	open  []*yaml.Node // the aliased nodes that expand is copying
}

func (p *parser) fail(e *Error) {
	if p.err == nil {
		e.File = p.file
		p.err = e
	}
}

// checkShape reports the first key that s does not have, and the first value
// that is of another type.
func (p *parser) checkShape(n *yaml.Node, at string, s Setting) {
	switch {
	case n.Tag == "!!null": // nothing is the default of every setting
	case n.Kind != s.Kind.node():
		p.fail(&Error{Line: n.Line, Key: at, Msg: "must be " + s.Kind.words() + ", not " + inWords(n)})
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			p.checkShape(item, fmt.Sprintf("%s[%d]", at, i), *s.Each)
		}
	case n.Kind == yaml.MappingNode:
		p.checkKeys(n, at, s)
	default:
		p.checkScalar(n, at, s)
	}
}

func (p *parser) checkKeys(n *yaml.Node, at string, s Setting) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(at+"."+k.Value, ".")
		inner, known := s.Child(k.Value)
		if !known {
			e := &Error{Line: k.Line, Key: path, Msg: fmt.Sprintf("unknown key %q", k.Value)}
			if near := release.Similar(k.Value, s.Keys()); near != "" {
				e.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			p.fail(e)
			return
		}
		p.checkShape(v, path, inner)
	}
}

func (p *parser) checkScalar(n *yaml.Node, at string, s Setting) {
	err := s.decode(n)
	if err == nil && len(s.Choices) > 0 && n.Value != "" && !slices.Contains(s.Choices, n.Value) {
		p.fail(&Error{Line: n.Line, Key: at, Msg: fmt.Sprintf("%q is none of %s", n.Value, strings.Join(s.Choices, ", "))})
	}
	if err == nil {
		return
	}
	fault := &Error{Line: n.Line, Msg: "must be " + s.Kind.words() + ", not " + inWords(n)}
	_ = errors.As(err, &fault) // a type of our own says it better
	fault.Key = at
	p.fail(fault)
}

// checkRequired reports the first required key that n, the value of s, does not have.
func (p *parser) checkRequired(root, n *yaml.Node, at string, s Setting) {
	if n.Kind == yaml.SequenceNode && s.Each != nil {
		for i, item := range n.Content {
			p.checkRequired(root, item, fmt.Sprintf("%s[%d]", at, i), *s.Each)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, inner := range s.Settings {
		if inner.Required && isEmpty(child(n, inner.Key)) {
			path := strings.TrimPrefix(at+"."+inner.Key, ".")
			p.fail(&Error{Line: lineOf(root, path), Key: path, Msg: "is missing", Hint: strings.Join(inner.Choices, " or ")})
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if inner, known := s.Child(n.Content[i].Value); known {
			p.checkRequired(root, n.Content[i+1], strings.TrimPrefix(at+"."+n.Content[i].Value, "."), inner)
		}
	}
}

// isEmpty reports whether a key is not in the file, or has no value there.
func isEmpty(n *yaml.Node) bool {
	return n == nil || n.Tag == "!!null" || n.Kind == yaml.ScalarNode && n.Value == ""
}

func inWords(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}
