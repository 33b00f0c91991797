package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/internal/pattern"
)

// Error is a fault in a configuration file.
type Error struct {
	File string
	Line int    // 1-based; 0 if the fault has no line
	Key  string // dotted path or name of the key at fault
	Msg  string
	Hint string

	missing bool // there is no such file
}

// Is lets errors.Is tell that there is no such file.
func (e *Error) Is(target error) bool { return e.missing && target == fs.ErrNotExist }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		fmt.Fprintf(&b, "%s: ", e.Key)
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Load reads path and lays the environment env over it ("" for none). The error
// is an *Error where the file's content is at fault.
func Load(path, env string) (Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, &Error{File: path, missing: true, Msg: "no such file", Hint: "shipit init writes one; -C DIR or --config FILE names another"}
	}
	if err != nil {
		return Config{}, err
	}
	return Parse(path, data, env)
}

// Parse turns the bytes of a configuration file into a Config. path is for messages.
func Parse(path string, data []byte, env string) (Config, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Config{}, syntaxError(path, data, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return Config{}, &Error{File: path, Line: 1, Msg: "is empty or no mapping", Hint: "shipit init writes a configuration"}
	}
	p := parser{file: path}
	root := p.expand(doc.Content[0], "")
	settings := Settings()
	p.checkShape(root, "", settings)
	if env != "" {
		p.overlay(root, env)
	}
	p.checkRequired(root, root, "", settings)
	cfg := Config{Path: path, Dir: filepath.Dir(path), Environment: env}
	if p.err == nil {
		if err := root.Decode(&cfg); err != nil {
			return Config{}, &Error{File: path, Msg: err.Error()}
		}
		p.validate(&cfg, root)
	}
	if p.err != nil {
		return Config{}, p.err
	}
	return cfg, nil
}

var yamlLine = pattern.Lazy(`^yaml: (line \d+: )?`)

// syntaxError gives the YAML library's message its line: the first up to which
// the file has this very fault. What the library names is missing on the first
// line and for an unknown anchor, and elsewhere often the line before.
func syntaxError(path string, data []byte, err error) error {
	e := &Error{File: path, Msg: yamlLine().ReplaceAllString(err.Error(), "")}
	length := 0
	for line := range bytes.Lines(data) {
		length += len(line)
		e.Line++
		if part := yaml.Unmarshal(data[:length], new(yaml.Node)); part != nil && part.Error() == err.Error() {
			break
		}
	}
	return e
}

// UnmarshalYAML keeps the order of the roles in the file.
func (r *Roles) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		role := Role{Name: n.Content[i].Value}
		if err := n.Content[i+1].Decode(&role); err != nil {
			return err
		}
		*r = append(*r, role)
	}
	return nil
}

// UnmarshalYAML reads 90s, 5m, 1h30m.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v < 0 {
		return &Error{Line: n.Line, Msg: fmt.Sprintf("%q is no duration such as 90s or 5m", n.Value)}
	}
	*d = Duration(v)
	return nil
}

// overlay merges environments.<env> into root: mappings by key, all else replaced.
func (p *parser) overlay(root *yaml.Node, env string) {
	all := child(root, "environments")
	patch := child(all, env)
	if patch == nil {
		known := keys(all)
		sort.Strings(known)
		p.fail(&Error{Key: "environments." + env, Msg: "no such environment", Hint: "known: " + strings.Join(known, ", ")})
		return
	}
	merge(root, patch)
}

func merge(into, from *yaml.Node) {
	for i := 0; i+1 < len(from.Content); i += 2 {
		k, v := from.Content[i], from.Content[i+1]
		old := child(into, k.Value)
		switch {
		case old == nil:
			into.Content = append(into.Content, k, v)
		case old.Kind == yaml.MappingNode && v.Kind == yaml.MappingNode:
			merge(old, v)
		default:
			*old = *v
		}
	}
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func keys(n *yaml.Node) []string {
	var out []string
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			out = append(out, n.Content[i].Value)
		}
	}
	return out
}
