package manifests

import (
	"errors"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// toJSON reads YAML as kubectl does, and refuses a key that is declared twice. A
// key that replaces one of a merge ("<<") is none.
func toJSON(text []byte) ([]byte, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err == nil || !strings.Contains(err.Error(), "already set in map") {
		return asJSON, err
	}
	merged, ok := withoutMerges(text)
	if !ok {
		return nil, err
	}
	asJSON, again := yaml.YAMLToJSONStrict(merged)
	if again != nil {
		return nil, err // which names the line of the file
	}
	return asJSON, nil
}

// withoutMerges is the document with every merge key replaced by the keys that
// it brings in; false if it has none, or if they are too many.
func withoutMerges(text []byte) ([]byte, bool) {
	var doc yamlv3.Node
	if yamlv3.Unmarshal(text, &doc) != nil {
		return nil, false
	}
	m := merger{left: 100_000}
	if m.resolve(&doc) != nil || !m.found {
		return nil, false
	}
	out, err := yamlv3.Marshal(&doc)
	return out, err == nil
}

// merger replaces merge keys.
type merger struct {
	left  int  // nodes that may still be looked at: merges of merges can multiply
	found bool // there was a merge key
}

var errTooLarge = errors.New("the merges expand to too much")

func (m *merger) resolve(n *yamlv3.Node) error {
	if m.left--; m.left < 0 {
		return errTooLarge
	}
	if n.Kind == yamlv3.AliasNode {
		return nil // what it names is resolved where it is
	}
	for _, inner := range n.Content {
		if err := m.resolve(inner); err != nil {
			return err
		}
	}
	if n.Kind == yamlv3.MappingNode {
		return m.merge(n)
	}
	return nil
}

// merge resolves the merge keys of one mapping. Its own keys come before those
// that are merged, and an earlier merge before a later one.
func (m *merger) merge(n *yamlv3.Node) error {
	var own []*yamlv3.Node
	var sources []*yamlv3.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag != "!!merge" {
			own = append(own, k, v)
			continue
		}
		m.found = true
		if v = target(v); v.Kind == yamlv3.SequenceNode {
			sources = append(sources, v.Content...)
		} else {
			sources = append(sources, v)
		}
	}
	n.Content = own
	for _, s := range sources {
		s = target(s)
		for i := 0; i+1 < len(s.Content); i += 2 {
			if m.left--; m.left < 0 {
				return errTooLarge
			}
			if !hasKey(n, s.Content[i].Value) {
				n.Content = append(n.Content, s.Content[i], s.Content[i+1])
			}
		}
	}
	return nil
}

func target(n *yamlv3.Node) *yamlv3.Node {
	if n.Kind == yamlv3.AliasNode {
		return n.Alias
	}
	return n
}

func hasKey(n *yamlv3.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}
