package pipeline

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// normalise removes from the output of package managers everything that depends on
// where and when they ran. roots are the paths of the folder that they ran in; a path
// that contains another one must come first.
func normalise(c content, roots ...string) (content, error) {
	c = c.only(func(e entry) bool { return !bookkeeping(e.Path) })
	for i := range c.Entries {
		e := &c.Entries[i]
		var err error
		switch e.Kind {
		case kindLink:
			err = relativeLink(e, roots)
		case kindFile:
			err = rewriteRoot(e, roots)
		}
		if err != nil {
			return content{}, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return c, nil
}

// bookkeeping reports whether p is a file that package managers write for their next
// run: these hold times and paths of the machine, and nothing reads them at run time.
func bookkeeping(p string) bool {
	if !workspace.InNodeModules(p) {
		return p == ".pnpm-store" || strings.HasPrefix(p, ".pnpm-store/")
	}
	parts := strings.Split(p, "/")
	last := len(parts) - 1
	for i, part := range parts {
		if i == 0 || parts[i-1] != "node_modules" {
			continue
		}
		if part == ".cache" {
			return true
		}
		if i == last && (part == ".modules.yaml" || part == ".package-lock.json" ||
			strings.HasPrefix(part, ".pnpm-workspace-state") || strings.HasPrefix(part, ".pnpm-debug")) {
			return true
		}
	}
	return false
}

// relativeLink makes an absolute link into the tree relative. A link out of the tree
// is an error.
func relativeLink(e *entry, roots []string) error {
	at := path.Dir("/" + e.Path)
	if path.IsAbs(e.Link) {
		rest, ok := "", false
		for _, root := range roots {
			if !ok {
				rest, ok = strings.CutPrefix(path.Clean(e.Link), root+"/")
			}
		}
		if !ok {
			return fmt.Errorf("links to %s, which is outside the tree", e.Link)
		}
		rel, err := filepath.Rel(at, "/"+rest)
		if err != nil {
			return err
		}
		e.Link = filepath.ToSlash(rel)
	}
	if _, ok := workspace.Inside(at[1:], e.Link); !ok {
		return fmt.Errorf("links to %s, which is outside the tree", e.Link)
	}
	return nil
}

// rewriteRoot replaces the path of the build folder in a text file by that of the
// image: shims of node_modules/.bin and bundles name it. Binary files keep it,
// because a path of another length would break them; it is the same in every build.
func rewriteRoot(e *entry, roots []string) error {
	if e.disk == "" {
		return nil // it is as committed
	}
	data, err := os.ReadFile(e.disk)
	if err != nil {
		return err
	}
	for _, root := range roots {
		if !bytes.Contains(data, []byte(root)) || isBinary(data) {
			continue
		}
		data = bytes.ReplaceAll(data, []byte(searchPath(root)), []byte(searchPath(imageRoot)))
		data = bytes.ReplaceAll(data, []byte(root), []byte(imageRoot))
		e.data, e.disk, e.Size = data, "", int64(len(data))
	}
	return nil
}

// searchPath is where a program in the folder root looks for packages, nearest first.
// pnpm writes it into the shims of the workspace's own programs, with the folders
// above root.
func searchPath(root string) string {
	var out []string
	for dir := root; ; dir = path.Dir(dir) {
		out = append(out, path.Join(dir, "node_modules"))
		if dir == "/" {
			return strings.Join(out, ":")
		}
	}
}

func isBinary(data []byte) bool {
	return bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0
}
