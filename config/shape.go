package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shape is what a value of the file must be, read from the Go types for each parse.
type shape struct {
	want   string           // in words
	kind   yaml.Kind        // of the node
	fields map[string]shape // of a struct
	elem   *shape           // of a map's values or a list's items
	scalar reflect.Type     // of what has neither
}

// configShape is the whole file's. Environments have the same keys as the rest.
func configShape() shape {
	s, patch := shapeFor(reflect.TypeFor[Config]()), shapeFor(reflect.TypeFor[Config]())
	delete(patch.fields, "environments")
	s.fields["environments"] = shape{want: "a mapping", kind: yaml.MappingNode, elem: &patch}
	return s
}

func shapeFor(t reflect.Type) shape {
	switch {
	case t == reflect.TypeFor[Roles]():
		elem := shapeFor(reflect.TypeFor[Role]())
		return shape{want: "a mapping", kind: yaml.MappingNode, elem: &elem}
	case t == reflect.TypeFor[Duration]():
		return shape{want: "a duration", kind: yaml.ScalarNode, scalar: t}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeFor(t.Elem())
	case reflect.Slice:
		elem := shapeFor(t.Elem())
		return shape{want: "a list", kind: yaml.SequenceNode, elem: &elem}
	case reflect.Map:
		elem := shapeFor(t.Elem())
		return shape{want: "a mapping", kind: yaml.MappingNode, elem: &elem}
	case reflect.Struct:
		s := shape{want: "a mapping", kind: yaml.MappingNode, fields: map[string]shape{}}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				s.fields[name] = shapeFor(t.Field(i).Type)
			}
		}
		return s
	case reflect.Int:
		return shape{want: "a whole number", kind: yaml.ScalarNode, scalar: t}
	case reflect.Bool:
		return shape{want: "true or false", kind: yaml.ScalarNode, scalar: t}
	default:
		return shape{want: "text", kind: yaml.ScalarNode, scalar: t}
	}
}

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

// checkShape reports the first key that the shape does not have, and the first value
// that is of another type.
func (p *parser) checkShape(n *yaml.Node, at string, s shape) {
	switch {
	case n.Tag == "!!null": // nothing is the default of every setting
	case n.Kind != s.kind:
		p.fail(&Error{Line: n.Line, Key: at, Msg: "must be " + s.want + ", not " + inWords(n)})
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			p.checkShape(item, fmt.Sprintf("%s[%d]", at, i), *s.elem)
		}
	case n.Kind == yaml.MappingNode:
		p.checkKeys(n, at, s)
	default:
		p.checkScalar(n, at, s)
	}
}

func (p *parser) checkKeys(n *yaml.Node, at string, s shape) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(at+"."+k.Value, ".")
		if s.fields == nil {
			p.checkShape(v, path, *s.elem)
			continue
		}
		inner, known := s.fields[k.Value]
		if !known {
			e := &Error{Line: k.Line, Key: path, Msg: fmt.Sprintf("unknown key %q", k.Value)}
			if near := nearest(k.Value, s.fields); near != "" {
				e.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			p.fail(e)
			return
		}
		p.checkShape(v, path, inner)
	}
}

func (p *parser) checkScalar(n *yaml.Node, at string, s shape) {
	err := n.Decode(reflect.New(s.scalar).Interface())
	if err == nil {
		return
	}
	fault := &Error{Line: n.Line, Msg: "must be " + s.want + ", not " + inWords(n)}
	_ = errors.As(err, &fault) // a type of our own says it better
	fault.Key = at
	p.fail(fault)
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

// nearest is the known key with the smallest edit distance to key, if it is
// small enough to be a slip.
func nearest(key string, known map[string]shape) string {
	best, dist := "", 3
	for k := range known {
		if d := distance(key, k); d < dist || d == dist && k < best {
			best, dist = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diag, row[j] = row[j], min(row[j]+1, row[j-1]+1, diag+cost)
		}
	}
	return row[len(b)]
}
