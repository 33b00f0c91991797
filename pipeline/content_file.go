package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// fileReader reads files on disk, one after the other.
type fileReader struct {
	roots []string // paths that text files are not to name; a path that contains another one comes first
	text  []byte   // of the last file
}

// textHead is how far a file is looked at for a zero byte, by which it is not text.
const textHead = 8000

// pass calls fn with an entry that is not in git. What fn gets is valid until it returns.
func (r *fileReader) pass(e entry, fn func(entry, io.Reader) error) error {
	switch {
	case e.Kind != kindFile:
		return fn(e, bytes.NewReader(nil))
	case e.disk == "":
		e.Size = int64(len(e.data))
		return fn(e, bytes.NewReader(e.data))
	}
	f, err := os.Open(e.disk)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	defer f.Close()
	if len(r.roots) == 0 {
		return fn(e, io.LimitReader(f, e.Size))
	}
	head, err := r.read(f, 0, min(e.Size, textHead))
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return fn(e, io.LimitReader(io.MultiReader(bytes.NewReader(head), f), e.Size))
	}
	whole, err := r.read(f, len(head), e.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	whole = atImageRoot(whole, r.roots)
	e.Size = int64(len(whole))
	return fn(e, bytes.NewReader(whole))
}

// read is the first size bytes of a file, of which have are read.
func (r *fileReader) read(f *os.File, have int, size int64) ([]byte, error) {
	r.text = slices.Grow(r.text[:have], int(size)-have)[:size]
	_, err := io.ReadFull(f, r.text[have:])
	return r.text, err
}

// atImageRoot is a text file with the path of the image in place of that of the build
// folder: shims of node_modules/.bin and bundles name it. Binary files keep it,
// because a path of another length would break them; it is the same in every build.
func atImageRoot(data []byte, roots []string) []byte {
	for _, root := range roots {
		if bytes.Contains(data, []byte(root)) {
			data = bytes.ReplaceAll(data, []byte(searchPath(root)), []byte(searchPath(imageRoot)))
			data = bytes.ReplaceAll(data, []byte(root), []byte(imageRoot))
		}
	}
	return data
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
