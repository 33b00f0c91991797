package pipeline

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// bunLock is what shipit reads of bun.lock.
type bunLock struct {
	Workspaces map[string]bunWorkspace      `json:"workspaces"`
	Packages   map[string][]json.RawMessage `json:"packages"`
}

type bunWorkspace struct {
	Name                 string            `json:"name"`
	Dependencies         map[string]string `json:"dependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
}

func (w bunWorkspace) all() []map[string]string {
	return []map[string]string{w.Dependencies, w.DevDependencies, w.OptionalDependencies, w.PeerDependencies}
}

func (w bunWorkspace) runtime() map[string]string {
	out := map[string]string{}
	for _, deps := range []map[string]string{w.PeerDependencies, w.OptionalDependencies, w.Dependencies} {
		for name, spec := range deps {
			out[name] = spec
		}
	}
	return out
}

// trailingComma is what bun.lock has over JSON. A string that holds one would be
// changed as well, but no name, range or hash does.
var trailingComma = regexp.MustCompile(`,(\s*[}\]])`)

func parseBunLock(data []byte) (bunLock, error) {
	var lock bunLock
	err := json.Unmarshal(trailingComma.ReplaceAll(data, []byte("$1")), &lock)
	return lock, err
}

// resolution is "name@version" of an entry of "packages".
func (l bunLock) resolution(key string) string {
	var res string
	if entry := l.Packages[key]; len(entry) > 0 {
		_ = json.Unmarshal(entry[0], &res)
	}
	return res
}

// isWorkspace reports whether the name resolves to a package of the workspace.
func (l bunLock) isWorkspace(name string) bool {
	return strings.Contains(l.resolution(name), "@workspace:")
}

// pruneBun keeps the workspaces in keep and the packages that these reach.
// false: the file is not as bun writes it.
func pruneBun(data []byte, keep map[string]bool) ([]byte, bool) {
	lock, err := parseBunLock(data)
	if err != nil {
		return nil, false
	}
	reached := map[string]bool{}
	for dir, w := range lock.Workspaces {
		if !keep[dir] {
			continue
		}
		for _, deps := range w.all() {
			for name := range deps {
				lock.reach(w.Name, name, reached)
			}
		}
	}
	keepPackage := func(key string) bool {
		if dir, ok := strings.CutPrefix(lock.resolution(key), key+"@workspace:"); ok {
			return keep[dir]
		}
		return reached[key]
	}
	return cutBunLines(data, func(dir string) bool { return keep[dir] }, keepPackage)
}

// reach marks the entry that name resolves to from the entry at, and all below
// it. An entry's key is the path to it, as in nested node_modules.
func (l bunLock) reach(at, name string, reached map[string]bool) {
	key := name
	for prefix := at; prefix != ""; prefix = parentKey(prefix) {
		if _, ok := l.Packages[prefix+"/"+name]; ok {
			key = prefix + "/" + name
			break
		}
	}
	entry, ok := l.Packages[key]
	if !ok || reached[key] {
		return
	}
	reached[key] = true
	for _, part := range entry[1:] {
		var info bunWorkspace
		if len(part) > 0 && part[0] == '{' && json.Unmarshal(part, &info) == nil {
			for _, deps := range info.all() {
				for dep := range deps {
					l.reach(key, dep, reached)
				}
			}
		}
	}
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

var bunKey = regexp.MustCompile(`^    "((?:[^"\\]|\\.)*)": [\[{]`)

// cutBunLines drops entries of "workspaces" and "packages" by whole lines: bun
// indents the keys of both by four blanks, and parts packages by a blank line.
func cutBunLines(data []byte, keepWorkspace, keepPackage func(string) bool) ([]byte, bool) {
	var out []byte
	section, drop := "", false
	for _, line := range bytes.SplitAfter(data, []byte("\n")) {
		switch {
		case bytes.HasPrefix(line, []byte(`  "`)):
			section, _, _ = strings.Cut(string(line[3:]), `"`)
			drop = false
		case bytes.HasPrefix(line, []byte("  }")):
			out, drop = append(bytes.TrimRight(out, "\n"), '\n'), false
		case len(line) == 1 && drop: // the blank line after an entry goes with it
			continue
		case section == "workspaces" || section == "packages":
			if m := bunKey.FindSubmatch(line); m != nil {
				key := string(m[1])
				drop = section == "workspaces" && !keepWorkspace(key) || section == "packages" && !keepPackage(key)
			}
		}
		if !drop {
			out = append(out, line...)
		}
	}
	_, err := parseBunLock(out)
	return out, err == nil
}
