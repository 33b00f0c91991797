package pipeline

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// normalise removes from the output of package managers everything that depends on
// where and when they ran. roots are the paths of the folder that they ran in; a path
// that contains another one must come first. Text files that name it are changed when
// they are read.
func normalise(c content, roots ...string) (content, error) {
	c = c.only(func(e entry) bool { return !bookkeeping(e.Path) })
	c.roots = roots
	for i := range c.Entries {
		e := &c.Entries[i]
		if e.Kind != kindLink || c.dependencies.layer != nil && workspace.InNodeModules(e.Path) {
			continue
		}
		if err := relativeLink(e, roots); err != nil {
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
