package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// normalise removes from the output of package managers everything that depends on
// where and when they ran. roots are the paths of the folder that they ran in; a path
// that contains another one must come first. node_modules whose layer is known are left as
// they are.
func normalise(c content, roots ...string) (content, error) {
	c = c.only(func(e entry) bool { return !bookkeeping(e.Path) })
	var files errgroup.Group
	files.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	for i := range c.Entries {
		e := &c.Entries[i]
		var err error
		switch {
		case c.dependencies.layer != nil && workspace.InNodeModules(e.Path):
		case e.Kind == kindLink:
			err = relativeLink(e, roots)
		case e.Kind == kindFile:
			files.Go(func() error {
				if err := rewriteRoot(e, roots); err != nil {
					return fmt.Errorf("%s: %w", e.Path, err)
				}
				return nil
			})
		}
		if err != nil {
			return content{}, errors.Join(fmt.Errorf("%s: %w", e.Path, err), files.Wait())
		}
	}
	return c, files.Wait()
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
	data, err := readText(e.disk, e.Size)
	if err != nil {
		return err
	}
	for _, root := range roots {
		if !bytes.Contains(data, []byte(root)) {
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

// readText reads a file of about that size; of a binary file it reads the beginning and
// gives nothing.
func readText(at string, size int64) ([]byte, error) {
	f, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var head [8000]byte
	n, err := io.ReadFull(f, head[:])
	if bytes.IndexByte(head[:n], 0) >= 0 {
		return nil, nil
	}
	if err != nil { // that was all
		return bytes.Clone(head[:n]), ignoreEnd(err)
	}
	whole := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, _ = whole.Write(head[:]) // a Buffer takes all
	_, err = whole.ReadFrom(f)
	return whole.Bytes(), err
}

// ignoreEnd is the error of a read that is not that the file ended.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
