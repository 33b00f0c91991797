package check

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keys finds the lines of the configuration's keys.
type keys struct {
	file string
	root *yaml.Node // nil if the file is not in the tree
}

func readKeys(in Input) keys {
	k := keys{file: in.Config.Path}
	data, err := in.Tree.ReadFile(k.file)
	if err != nil {
		return k // it was named with --config; findings name its keys
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 {
		k.root = doc.Content[0]
	}
	return k
}

// position is file:line of a key such as roles.cluster.probes[0].path, or of its
// deepest part that is in the file.
func (k keys) position(key string) string {
	if k.root == nil {
		return strings.TrimPrefix(k.file+": "+key, ": ")
	}
	return at(k.file, k.find(key).Line)
}

// find returns the value of the key, or of its deepest part that is in the file.
func (k keys) find(key string) *yaml.Node {
	n := k.root
	for _, part := range strings.Split(key, ".") {
		name, indices, _ := strings.Cut(part, "[")
		next := field(n, name)
		if next == nil {
			return n
		}
		n = next
		for _, index := range strings.FieldsFunc(indices, func(r rune) bool { return r == '[' || r == ']' }) {
			i, err := strconv.Atoi(index)
			if err != nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
				return n
			}
			n = n.Content[i]
		}
	}
	return n
}

// field is the value of a mapping's key; nil if it is not there.
func field(n *yaml.Node, key string) *yaml.Node {
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

// lastLine is the last line on which n or a part of it begins.
func lastLine(n *yaml.Node) int {
	line := n.Line
	for _, c := range n.Content {
		line = max(line, lastLine(c))
	}
	return line
}

func at(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

// splitPosition splits what at made into file and line; line 0 if there is none.
func splitPosition(object string) (string, int) {
	colon := strings.LastIndex(object, ":")
	if colon < 0 {
		return object, 0
	}
	line, err := strconv.Atoi(object[colon+1:])
	if err != nil {
		return object, 0
	}
	return object[:colon], line
}
