package attest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bunLock is bun.lock, the text form: packages are keyed by their place in
// node_modules, a/b being the b that only a sees.
type bunLock struct {
	Version    int                     `json:"lockfileVersion"`
	Workspaces map[string]bunNeeds     `json:"workspaces"`
	Packages   map[string][]bunElement `json:"packages"`
}

type bunNeeds struct {
	Name          string            `json:"name"`
	Version       string            `json:"version"`
	Dependencies  map[string]string `json:"dependencies"`
	Optional      map[string]string `json:"optionalDependencies"`
	Peers         map[string]string `json:"peerDependencies"`
	OptionalPeers []string          `json:"optionalPeers"`
}

// bunElement is a string (id, registry, integrity) or an object (what it needs).
type bunElement struct {
	text  string
	needs *bunNeeds
}

func (e *bunElement) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		e.needs = &bunNeeds{}
		return json.Unmarshal(data, e.needs)
	}
	return json.Unmarshal(data, &e.text)
}

func readBun(data []byte) (packages, error) {
	var lock bunLock
	if err := json.Unmarshal(plainJSON(data), &lock); err != nil {
		return nil, fmt.Errorf("bun.lock: %w", err)
	}
	if lock.Version > 1 {
		return nil, fmt.Errorf("bun.lock: version %d is newer than 1", lock.Version)
	}
	all := packages{}
	for folder, needs := range lock.Workspaces {
		at := folder
		if folder == "" {
			at = "."
		}
		p := pkg{name: needs.Name, version: needs.Version, folder: at}
		p.needs, p.mayNeed = lock.edges(needs.Name, needs)
		all[folderID(at)] = p
	}
	for key, elements := range lock.Packages {
		if len(elements) == 0 || lock.folderOf(key) != "" {
			continue
		}
		p := pkg{}
		p.name, p.version = splitID(elements[0].text)
		for _, e := range elements[1:] {
			if e.needs != nil {
				p.needs, p.mayNeed = lock.edges(key, *e.needs)
			} else if strings.HasPrefix(e.text, "sha") {
				p.integrity = e.text
			}
		}
		all[key] = p
	}
	return all, nil
}

// edges resolves what the package at key needs. Peers are needed where somebody
// installed them; a peer that nobody did is the affair of the installer.
func (l bunLock) edges(key string, n bunNeeds) (needs, mayNeed []string) {
	for _, name := range slices.Sorted(maps.Keys(n.Dependencies)) {
		if id, ok := l.id(key, name); ok {
			needs = append(needs, id)
		} else {
			needs = append(needs, name) // unknown, and named when it is reached
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Peers)) {
		if id, ok := l.id(key, name); ok && !slices.Contains(n.OptionalPeers, name) {
			needs = append(needs, id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Optional)) {
		if id, ok := l.id(key, name); ok {
			mayNeed = append(mayNeed, id)
		}
	}
	return needs, mayNeed
}

// id looks a name up as Node does: below the package, then below each of those
// that it stands in, then at the top.
func (l bunLock) id(key, name string) (string, bool) {
	for at := key; ; at = parentKey(at) {
		try := strings.TrimPrefix(at+"/"+name, "/")
		if _, ok := l.Packages[try]; ok {
			if folder := l.folderOf(try); folder != "" {
				return folderID(folder), true
			}
			return try, true
		}
		if at == "" {
			return "", false
		}
	}
}

// parentKey drops the last name of a key; a scoped name has a slash itself.
func parentKey(key string) string {
	i := strings.LastIndex(key, "/")
	if i < 0 {
		return ""
	}
	parent := key[:i]
	if strings.HasPrefix(parent[strings.LastIndex(parent, "/")+1:], "@") {
		if j := strings.LastIndex(parent, "/"); j >= 0 {
			return parent[:j]
		}
		return ""
	}
	return parent
}

// folderOf is the folder of a package that stands in the workspace itself.
func (l bunLock) folderOf(key string) string {
	elements := l.Packages[key]
	if len(elements) == 0 {
		return ""
	}
	_, version := splitID(elements[0].text)
	folder, ok := strings.CutPrefix(version, "workspace:")
	if !ok {
		return ""
	}
	if folder == "" {
		return "."
	}
	return folder
}

// plainJSON takes comments and trailing commas out of JSON; strings stay as they
// are.
func plainJSON(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			end := endOfString(data, i)
			out = append(out, data[i:end]...)
			i = end - 1
		case c == '/' && i+1 < len(data) && (data[i+1] == '/' || data[i+1] == '*'):
			i = endOfComment(data, i) - 1
		case c == '}' || c == ']':
			out = append(dropComma(out), c)
		default:
			out = append(out, c)
		}
	}
	return out
}

func endOfString(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func endOfComment(data []byte, start int) int {
	end, rest := "\n", string(data[start+2:])
	if data[start+1] == '*' {
		end = "*/"
	}
	if i := strings.Index(rest, end); i >= 0 {
		return start + 2 + i + len(end)
	}
	return len(data)
}

func dropComma(out []byte) []byte {
	trimmed := strings.TrimRight(string(out), " \t\r\n")
	if strings.HasSuffix(trimmed, ",") {
		return out[:len(trimmed)-1]
	}
	return out
}
