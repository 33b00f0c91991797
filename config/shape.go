package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shape is what keys a mapping may have, read off the Go types once a parse.
type shape struct {
	fields map[string]shape // of a struct
	elem   *shape           // of a map's values or a list's items
	free   bool             // anything goes
}

func shapeOf[T any]() shape { return shapeFor(reflect.TypeFor[T]()) }

func shapeFor(t reflect.Type) shape {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[yamlPatch]():
		return shape{free: true}
	case reflect.TypeFor[Roles]():
		elem := shapeFor(reflect.TypeFor[Role]())
		return shape{elem: &elem}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeFor(t.Elem())
	case reflect.Map, reflect.Slice:
		elem := shapeFor(t.Elem())
		return shape{elem: &elem}
	case reflect.Struct:
		s := shape{fields: map[string]shape{}}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				s.fields[name] = shapeFor(t.Field(i).Type)
			}
		}
		return s
	default:
		return shape{free: true}
	}
}

type parser struct {
	file string
	err  error // the first fault

	nodes int          // that plain has made so far
	open  []*yaml.Node // the aliased nodes that plain is copying
}

func (p *parser) fail(e *Error) {
	if p.err == nil {
		e.File = p.file
		p.err = e
	}
}

// unknownKeys reports the first key that the shape does not have.
func (p *parser) unknownKeys(n *yaml.Node, at string, s shape) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if s.elem != nil {
				p.unknownKeys(item, fmt.Sprintf("%s[%d]", at, i), *s.elem)
			}
		}
	case yaml.MappingNode:
		p.unknownInMapping(n, at, s)
	}
}

func (p *parser) unknownInMapping(n *yaml.Node, at string, s shape) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(at+"."+k.Value, ".")
		switch {
		case s.free:
		case s.fields != nil:
			inner, known := s.fields[k.Value]
			if !known {
				e := &Error{Line: k.Line, Key: path, Msg: fmt.Sprintf("unknown key %q", k.Value)}
				if near := nearest(k.Value, s.fields); near != "" {
					e.Hint = fmt.Sprintf("did you mean %q?", near)
				}
				p.fail(e)
				return
			}
			if path == "environments" {
				for j := 0; j+1 < len(v.Content); j += 2 {
					p.unknownKeys(v.Content[j+1], path+"."+v.Content[j].Value, shapeOf[Config]())
				}
				continue
			}
			p.unknownKeys(v, path, inner)
		case s.elem != nil:
			p.unknownKeys(v, path, *s.elem)
		}
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
