package scaffold

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// files are the files of a repository that may tell what is deployed.
type files struct {
	tree  fs.FS
	paths []string // folder by folder
	known map[string]bool
}

// sizeLimit is how large a file may be to be read; a larger one is data.
const sizeLimit = 1 << 20

// skipped are names of folders that hold nothing of the repository's own.
func skipped() []string {
	return []string{"node_modules", "dist", "build", "vendor", "target", "testdata", "fixtures", "__tests__"}
}

func listFiles(tree fs.FS) (files, error) {
	f := files{tree: tree, known: map[string]bool{}}
	err := fs.WalkDir(tree, ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir() && at != "." && (slices.Contains(skipped(), name) || strings.HasPrefix(name, ".") && name != ".github"):
			return fs.SkipDir
		case d.Type().IsRegular():
			f.paths, f.known[at] = append(f.paths, at), true
		}
		return nil
	})
	return f, err
}

// has reports whether there is a file of that path.
func (f files) has(at string) bool { return f.known[at] }

// text is the content of a file; "" if it cannot be read or is too large.
func (f files) text(at string) string {
	info, err := fs.Stat(f.tree, at)
	if err != nil || info.Size() > sizeLimit {
		return ""
	}
	data, err := fs.ReadFile(f.tree, at)
	if err != nil {
		return ""
	}
	return string(data)
}

// json decodes a file as far as it is JSON of that shape.
func (f files) json(at string, into any) bool {
	text := f.text(at)
	return text != "" && json.Unmarshal([]byte(text), into) == nil
}

// below are the files in a folder and its folders; "." is the root.
func (f files) below(dir string) []string {
	if dir == "." || dir == "" {
		return f.paths
	}
	var found []string
	for _, at := range f.paths {
		if strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	return found
}

// named are the files with one of these names or, for a name with a dot in front,
// with that extension.
func (f files) named(names ...string) []string {
	var found []string
	for _, at := range f.paths {
		if slices.Contains(names, path.Base(at)) || slices.Contains(names, path.Ext(at)) {
			found = append(found, at)
		}
	}
	return found
}

// inTree is the file of the repository that an absolute path of some machine means:
// the one with the longest equal end, of at least two parts. "" if there is none.
func (f files) inTree(machine string) string {
	parts := strings.Split(strings.TrimPrefix(machine, "/"), "/")
	for i := 0; i+1 < len(parts); i++ {
		if at := strings.Join(parts[i:], "/"); f.has(at) {
			return at
		}
	}
	return ""
}

// place is a file and a line, as comments name it.
func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// lineOf is the number of the first line of text that holds part; 0 if none does.
func lineOf(text, part string) int {
	before, _, found := strings.Cut(text, part)
	if !found {
		return 0
	}
	return strings.Count(before, "\n") + 1
}
