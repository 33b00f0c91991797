package lockfile

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cut keeps the importers of the folders in keep, and the packages that these
// reach. false: the format is not the known one, or a package is not there.
func (lock pnpmLock) cut(data []byte, keep map[string]bool) ([]byte, bool) {
	if lock.Version != "9.0" {
		return nil, false
	}
	snapshots, packages := map[string]bool{}, map[string]bool{}
	var queue []string
	visit := func(name, version string) {
		if key := snapshotKey(name, version); key != "" && !snapshots[key] {
			snapshots[key] = true
			queue = append(queue, key)
		}
	}
	for dir, imp := range lock.Importers {
		if !keep[workspaceFolder(dir)] {
			continue
		}
		for _, deps := range imp.all() {
			for name, dep := range deps {
				visit(name, dep.Version)
			}
		}
	}
	for len(queue) > 0 {
		key := queue[0]
		queue = queue[1:]
		snapshot, ok := lock.Snapshots[key]
		if !ok {
			return nil, false
		}
		base, _, _ := strings.Cut(key, "(")
		packages[base] = true
		for name, version := range snapshot.Dependencies {
			visit(name, version)
		}
		for name, version := range snapshot.OptionalDependencies {
			visit(name, version)
		}
	}
	return cutSections(data, map[string]func(key string) bool{
		"importers": func(key string) bool { return keep[workspaceFolder(key)] },
		"packages":  func(key string) bool { return packages[key] },
		"snapshots": func(key string) bool { return snapshots[key] },
	})
}

// cutSections drops, by whole lines, the entries of top-level mappings that
// keep refuses, and a mapping of which nothing is left. What stays keeps its bytes.
func cutSections(data []byte, keep map[string]func(key string) bool) ([]byte, bool) {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, false
	}
	if doc.Content[0].Style&yaml.FlowStyle != 0 || otherBreaks(data) || hasAlias(doc.Content[0]) {
		return nil, false
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	top := doc.Content[0].Content
	var out []byte
	for i := 0; i+1 < len(top); i += 2 {
		section := span{from: top[i].Line, to: len(lines) + 1}
		if i+2 < len(top) {
			section.to = top[i+2].Line
		}
		keepKey, ok := keep[top[i].Value]
		if !ok || top[i+1].Kind != yaml.MappingNode || len(top[i+1].Content) == 0 {
			out = append(out, section.of(lines)...)
			continue
		}
		if top[i+1].Style&yaml.FlowStyle != 0 { // entries may share a line
			return nil, false
		}
		cut, ok := cutEntries(lines, section, top[i+1].Content, keepKey)
		if !ok {
			return nil, false
		}
		out = append(out, cut...)
	}
	return append(bytes.TrimRight(out, "\n"), '\n'), true
}

// otherBreaks reports whether YAML counts lines that no line feed ends.
func otherBreaks(data []byte) bool {
	return bytes.ContainsAny(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), "\r\u0085\u2028\u2029")
}

// hasAlias reports whether a node refers to another one, which might be cut away.
func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

// span is lines from (1-based) to to, that one not included.
type span struct{ from, to int }

func (s span) of(lines [][]byte) []byte { return bytes.Join(lines[s.from-1:s.to-1], nil) }

// cutEntries is one section with the entries that keep accepts; nothing if
// there are none. false: the section is not one entry a line or more.
func cutEntries(lines [][]byte, section span, entries []*yaml.Node, keep func(string) bool) ([]byte, bool) {
	if entries[0].Line == section.from {
		return nil, false
	}
	out := span{section.from, entries[0].Line}.of(lines)
	kept := 0
	for j := 0; j+1 < len(entries); j += 2 {
		entry := span{entries[j].Line, section.to}
		if j+2 < len(entries) {
			entry.to = entries[j+2].Line
		}
		if keep(entries[j].Value) {
			kept++
			out = append(out, entry.of(lines)...)
		}
	}
	if kept == 0 {
		return nil, true
	}
	return out, true
}
