package lockfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bunLock is what shipit reads of bun.lock. Packages are keyed by their path in
// node_modules: a/b is the b that only a sees.
type bunLock struct {
	Version    int                     `json:"lockfileVersion"`
	Workspaces map[string]bunNeeds     `json:"workspaces"`
	Packages   map[string][]bunElement `json:"packages"`
}

// bunNeeds is what a package declares.
type bunNeeds struct {
	Name                 string            `json:"name"`
	Version              string            `json:"version"`
	Dependencies         map[string]string `json:"dependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
	OptionalPeers        []string          `json:"optionalPeers"`
	Limits
}

func (n bunNeeds) all() []map[string]string {
	return []map[string]string{n.Dependencies, n.DevDependencies, n.OptionalDependencies, n.PeerDependencies}
}

func (n bunNeeds) runtime() map[string]string {
	out := map[string]string{}
	for _, deps := range []map[string]string{n.PeerDependencies, n.OptionalDependencies, n.Dependencies} {
		maps.Copy(out, deps)
	}
	return out
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

func parseBun(data []byte) (bunLock, error) {
	var lock bunLock
	err := json.Unmarshal(strictJSON(data), &lock)
	return lock, err
}

func (l bunLock) links() map[Dependency]bool {
	out := map[Dependency]bool{}
	for dir, w := range l.Workspaces {
		for name := range w.runtime() {
			if l.folderOf(name) != "" {
				out[Dependency{Folder: dir, Name: name}] = true
			}
		}
	}
	return out
}

func (l bunLock) ranges() map[string]map[string]string {
	out := map[string]map[string]string{}
	for dir, w := range l.Workspaces {
		out[dir] = map[string]string{}
		for _, deps := range w.all() {
			maps.Copy(out[dir], deps)
		}
	}
	return out
}

func (l bunLock) declared(folders map[string]bool) map[string]bool {
	out := map[string]bool{}
	queue := slices.Sorted(maps.Keys(folders))
	for len(queue) > 0 {
		needs := l.Workspaces[queue[0]]
		queue = queue[1:]
		for _, deps := range needs.all() {
			for name := range deps {
				at, _ := l.resolve(needs.Name, name)
				folder := l.folderOf(at)
				if folder == "" {
					continue
				}
				if folder = workspaceFolder(folder); !folders[folder] && !out[folder] {
					out[folder] = true
					queue = append(queue, folder)
				}
			}
		}
	}
	return out
}

func (l bunLock) packages() (map[string]Package, error) {
	if l.Version > 1 {
		return nil, fmt.Errorf("%s: version %d is newer than 1", Bun, l.Version)
	}
	all := map[string]Package{}
	for folder, needs := range l.Workspaces {
		if folder == "" {
			folder = "."
		}
		p := Package{Name: needs.Name, Version: needs.Version, Folder: folder}
		p.Needs, p.MayNeed = l.edges(needs.Name, needs)
		all[FolderID(folder)] = p
	}
	for key, elements := range l.Packages {
		if len(elements) == 0 || l.folderOf(key) != "" {
			continue
		}
		p := Package{}
		p.Name, p.Version = splitID(elements[0].text)
		for _, e := range elements[1:] {
			if e.needs != nil {
				p.Needs, p.MayNeed = l.edges(key, *e.needs)
				p.Limits = e.needs.Limits
			} else if strings.HasPrefix(e.text, "sha") {
				p.Integrity = e.text
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
	for _, name := range slices.Sorted(maps.Keys(n.PeerDependencies)) {
		if id, ok := l.id(key, name); ok && !slices.Contains(n.OptionalPeers, name) {
			needs = append(needs, id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.OptionalDependencies)) {
		if id, ok := l.id(key, name); ok {
			mayNeed = append(mayNeed, id)
		}
	}
	return needs, mayNeed
}

// id is the id in packages of what the package at key finds under a name.
func (l bunLock) id(key, name string) (string, bool) {
	at, ok := l.resolve(key, name)
	if !ok {
		return "", false
	}
	if folder := l.folderOf(at); folder != "" {
		return FolderID(folder), true
	}
	return at, true
}

// resolve looks a name up as Node does: below the package, then below each of
// those that it stands in, then at the top.
func (l bunLock) resolve(key, name string) (string, bool) {
	for at := key; ; at = parentKey(at) {
		try := strings.TrimPrefix(at+"/"+name, "/")
		if _, ok := l.Packages[try]; ok {
			return try, true
		}
		if at == "" {
			return "", false
		}
	}
}

// folderOf is the folder of a package of the workspace, "." for the root; "" for
// any other.
func (l bunLock) folderOf(key string) string {
	elements := l.Packages[key]
	if len(elements) == 0 {
		return ""
	}
	_, version := splitID(elements[0].text)
	folder, ok := strings.CutPrefix(version, "workspace:")
	switch {
	case !ok:
		return ""
	case folder == "":
		return "."
	}
	return folder
}

// parentKey drops the last package name of a key; a scoped name has two parts.
func parentKey(key string) string {
	cut := strings.LastIndex(key, "/")
	if cut < 0 {
		return ""
	}
	if before := strings.LastIndex(key[:cut], "/"); strings.HasPrefix(key[before+1:], "@") {
		cut = before
	}
	return key[:max(cut, 0)]
}
