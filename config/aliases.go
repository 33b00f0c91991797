package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes is how many keys and values a configuration may have once every alias
// is replaced. A few lines of aliases to aliases could expand to billions.
const maxNodes = 100_000

// expand is n with every alias, and what "<<" brings in, replaced by a copy, so
// that a change to one copy changes no other. A key that is declared twice is a
// fault.
func (p *parser) expand(n *yaml.Node, at string) *yaml.Node {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(&Error{Line: n.Line, Key: at, Msg: "its aliases expand to too much"})
	}
	if n.Kind == yaml.AliasNode && slices.Contains(p.open, n.Alias) {
		p.fail(&Error{Line: n.Line, Key: at, Msg: "*" + n.Value + " is inside of what it names"})
	}
	if p.err != nil {
		return n
	}
	if n.Kind == yaml.AliasNode {
		p.open = append(p.open, n.Alias)
		defer func() { p.open = p.open[:len(p.open)-1] }()
		return p.expand(n.Alias, at)
	}
	out := *n
	out.Anchor, out.Content = "", nil
	switch n.Kind {
	case yaml.MappingNode:
		p.mapping(&out, n, at)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			out.Content = append(out.Content, p.expand(item, fmt.Sprintf("%s[%d]", at, i)))
		}
	}
	return &out
}

// mapping copies the keys of n; those that "<<" brings in come last, and only
// where n has none of that name.
func (p *parser) mapping(out, n *yaml.Node, at string) {
	var below []*yaml.Node
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := p.expand(n.Content[i], at)
		path := strings.TrimPrefix(at+"."+k.Value, ".")
		if line, twice := lines[k.Value]; twice {
			p.fail(&Error{Line: k.Line, Key: path, Msg: "is declared twice", Hint: fmt.Sprintf("line %d has it already", line)})
		}
		lines[k.Value] = k.Line
		v := p.expand(n.Content[i+1], path)
		if k.Tag != "!!merge" {
			out.Content = append(out.Content, k, v)
			continue
		}
		sources := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			sources = v.Content
		}
		for _, s := range sources {
			if s.Kind != yaml.MappingNode {
				p.fail(&Error{Line: k.Line, Key: path, Msg: "must be a mapping or a list of them"})
			}
		}
		below = append(below, sources...)
	}
	for _, from := range below {
		for i := 0; i+1 < len(from.Content); i += 2 {
			if k := from.Content[i]; child(out, k.Value) == nil {
				out.Content = append(out.Content, k, from.Content[i+1])
			}
		}
	}
}
