package lockfile

import (
	"encoding/json"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
)

// npmLock is what shipit reads of package-lock.json. Packages are keyed by where they
// are installed: node_modules/a/node_modules/b is the b that only a sees, and
// packages/a is a package of the workspace.
type npmLock struct {
	Version  int                 `json:"lockfileVersion"`
	Packages map[string]npmEntry `json:"packages"`
}

type npmEntry struct {
	Name                 string             `json:"name"` // where the key does not say it
	Version              string             `json:"version"`
	Resolved             string             `json:"resolved"` // of a link: its folder
	Integrity            string             `json:"integrity"`
	Link                 bool               `json:"link"`
	Dependencies         map[string]string  `json:"dependencies"`
	DevDependencies      map[string]string  `json:"devDependencies"`
	OptionalDependencies map[string]string  `json:"optionalDependencies"`
	PeerDependencies     map[string]string  `json:"peerDependencies"`
	PeerMeta             map[string]npmPeer `json:"peerDependenciesMeta"`
	Limits
}

type npmPeer struct {
	Optional bool `json:"optional"`
}

func parseNPM(data []byte) (npmLock, error) {
	var lock npmLock
	err := json.Unmarshal(data, &lock)
	if err == nil && lock.Version < 2 {
		err = errors.New("lockfileVersion 1 does not say what is installed: npm install --lockfile-version 3 writes one that does")
	}
	return lock, err
}

// folders are the packages of the workspace, "" for the root.
func (l npmLock) folders() map[string]npmEntry {
	out := map[string]npmEntry{}
	for key, entry := range l.Packages {
		if !strings.Contains("/"+key+"/", "/node_modules/") {
			out[key] = entry
		}
	}
	return out
}

func (l npmLock) links() map[Dependency]bool {
	out := map[Dependency]bool{}
	for folder, entry := range l.folders() {
		for _, deps := range []map[string]string{entry.Dependencies, entry.OptionalDependencies, entry.PeerDependencies} {
			for name := range deps {
				if at, ok := l.resolve(folder, name); ok && l.Packages[at].Link {
					out[Dependency{Folder: folder, Name: name}] = true
				}
			}
		}
	}
	return out
}

func (l npmLock) ranges() map[string]map[string]string {
	out := map[string]map[string]string{}
	for folder, entry := range l.folders() {
		out[folder] = map[string]string{}
		for _, deps := range []map[string]string{entry.PeerDependencies, entry.DevDependencies, entry.OptionalDependencies, entry.Dependencies} {
			maps.Copy(out[folder], deps)
		}
	}
	return out
}

// declared is nothing: npm ci misses no package of the workspace.
func (l npmLock) declared(map[string]bool) map[string]bool { return nil }

// cut leaves the lockfile whole: npm accepts one that names more than there is.
func (l npmLock) cut(data []byte, _ map[string]bool) ([]byte, bool) { return data, false }

func (l npmLock) packages() (map[string]Package, error) {
	all := map[string]Package{}
	for key, entry := range l.Packages {
		if entry.Link {
			continue
		}
		p := Package{Name: entry.Name, Version: entry.Version, Integrity: entry.Integrity, Limits: entry.Limits}
		id := key
		if at := strings.LastIndex(key, "node_modules/"); at >= 0 {
			if p.Name == "" {
				p.Name = key[at+len("node_modules/"):]
			}
		} else {
			p.Folder = path.Clean(key)
			if p.Name == "" {
				p.Name = path.Base(p.Folder)
			}
			id = FolderID(p.Folder)
		}
		p.Needs, p.MayNeed = l.edges(key, entry)
		all[id] = p
	}
	return all, nil
}

// edges resolves what the package at key needs. A peer that nobody installed is the
// affair of the installer.
func (l npmLock) edges(key string, entry npmEntry) (needs, mayNeed []string) {
	for _, name := range slices.Sorted(maps.Keys(entry.Dependencies)) {
		if _, optional := entry.OptionalDependencies[name]; optional {
			continue
		}
		if at, ok := l.resolve(key, name); ok {
			needs = append(needs, l.id(at))
		} else {
			needs = append(needs, name) // unknown, and named when it is reached
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entry.PeerDependencies)) {
		if at, ok := l.resolve(key, name); ok && !entry.PeerMeta[name].Optional {
			needs = append(needs, l.id(at))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entry.OptionalDependencies)) {
		if at, ok := l.resolve(key, name); ok {
			mayNeed = append(mayNeed, l.id(at))
		}
	}
	return needs, mayNeed
}

// id is the id in packages of what is installed at key.
func (l npmLock) id(key string) string {
	if entry := l.Packages[key]; entry.Link {
		return FolderID(path.Clean(entry.Resolved))
	}
	return key
}

// resolve looks a name up as Node does: below the package, then below each folder
// that it is in.
func (l npmLock) resolve(key, name string) (string, bool) {
	for at := key; ; {
		try := path.Join(at, "node_modules", name)
		if _, ok := l.Packages[try]; ok {
			return try, true
		}
		if at == "" {
			return "", false
		}
		if at = path.Dir(at); at == "." || at == "/" {
			at = ""
		}
	}
}
