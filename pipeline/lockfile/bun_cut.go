package lockfile

import (
	"bytes"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
)

// cut keeps the packages of the workspace in keep and the packages that these
// reach. false: the file is not as bun writes it.
func (l bunLock) cut(data []byte, keep map[string]bool) ([]byte, bool) {
	reached := map[string]bool{}
	for dir, w := range l.Workspaces {
		if !keep[dir] {
			continue
		}
		for _, deps := range w.all() {
			for name := range deps {
				l.reach(w.Name, name, reached)
			}
		}
	}
	keepPackage := func(key string) bool {
		if folder := l.folderOf(key); folder != "" {
			return keep[workspaceFolder(folder)]
		}
		return reached[key]
	}
	return cutBunLines(data, func(dir string) bool { return keep[dir] }, keepPackage)
}

// reach marks the entry that name resolves to from the entry at, and all below it.
func (l bunLock) reach(at, name string, reached map[string]bool) {
	key, ok := l.resolve(at, name)
	if !ok || reached[key] {
		return
	}
	reached[key] = true
	for _, e := range l.Packages[key] {
		if e.needs == nil {
			continue
		}
		for _, deps := range e.needs.all() {
			for dep := range deps {
				l.reach(key, dep, reached)
			}
		}
	}
}

var bunKey = pattern.Lazy(`^    "((?:[^"\\]|\\.)*)": [\[{]`)

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
			if m := bunKey().FindSubmatch(line); m != nil {
				key := string(m[1])
				drop = section == "workspaces" && !keepWorkspace(key) || section == "packages" && !keepPackage(key)
			}
		}
		if !drop {
			out = append(out, line...)
		}
	}
	_, err := parseBun(out)
	return out, err == nil
}
