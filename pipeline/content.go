package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// entryKind is the kind of an entry.
type entryKind string

const (
	kindFile entryKind = "file"
	kindDir  entryKind = "folder"
	kindLink entryKind = "link"
)

// entry is one file, folder or symbolic link of an image's content. It has no owner
// and no time; of its mode it has only whether it is executable.
type entry struct {
	Path       string // slash separated, below the content's root
	Kind       entryKind
	Executable bool
	Link       string // target of a link
	Size       int64  // of a file; of a git file, set only while it is read

	// The bytes of a file are in one of these.
	blob git.File
	disk string // path of a file
	data []byte
}

// content is the files that go into an image, sorted by path.
type content struct {
	Entries []entry

	source git.Source // of the blobs
	dir    string     // folder that holds exactly this content; "" if there is none
	roots  []string   // paths of the folder in which text files were made: they are read with that of the image

	dependencies installLayer
}

// installLayer is what is known of the node_modules of a content; the zero value if commands
// other than one install may have changed them.
type installLayer struct {
	key   string // of all that their layer depends on
	layer *layer // that was written for the key; nil if none was
}

// gitContent is the closure as committed. With links, it also has the links between
// workspace packages in node_modules that an install would make.
func gitContent(ctx context.Context, in Inputs, links bool) (content, error) {
	c := content{source: in.Source}
	targets := map[string]string{}
	var symlinks []git.File
	for _, f := range in.Closure.Files {
		if f.Link() {
			symlinks = append(symlinks, f)
		}
	}
	err := c.source.Read(ctx, symlinks, func(f git.File, _ int64, r io.Reader) error {
		target, err := io.ReadAll(r)
		targets[f.Path] = string(target)
		return err
	})
	if err != nil {
		return content{}, err
	}
	for _, f := range in.Closure.Files {
		e := entry{Path: f.Path, Kind: kindFile, Executable: f.Executable(), blob: f}
		if f.Link() {
			e = entry{Path: f.Path, Kind: kindLink, Link: targets[f.Path]}
		}
		if f.Path == in.Closure.Lockfile && in.Closure.CutLockfile != nil {
			e.blob, e.data = git.File{}, in.Closure.CutLockfile
		}
		c.Entries = append(c.Entries, e)
	}
	if links {
		c.Entries = append(c.Entries, linkEntries(in.Closure.Links)...)
	}
	return c, c.sort()
}

// linkEntries are the node_modules/<name> links between workspace packages.
func linkEntries(links []workspace.Link) []entry {
	var out []entry
	for _, l := range links {
		at := path.Join(l.From, "node_modules", l.Name)
		rel, err := filepath.Rel("/"+path.Dir(at), "/"+l.To)
		if err != nil { // both are absolute
			panic(err)
		}
		out = append(out, entry{Path: at, Kind: kindLink, Link: filepath.ToSlash(rel)})
	}
	return out
}

// readDir is the content of a folder on disk. Anything but files, folders and links
// is an error that names it.
func readDir(dir string) (content, error) {
	c := content{dir: dir}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{Path: filepath.ToSlash(rel)}
		switch mode := info.Mode(); {
		case mode.IsDir():
			e.Kind = kindDir
		case mode.IsRegular():
			e.Kind, e.Executable, e.Size, e.disk = kindFile, mode&0o111 != 0, info.Size(), p
		case mode&fs.ModeSymlink != 0:
			e.Kind = kindLink
			e.Link, err = os.Readlink(p)
		default:
			err = fmt.Errorf("%s: %s is not a file, folder or link", e.Path, mode.Type())
		}
		c.Entries = append(c.Entries, e)
		return err
	})
	if err != nil {
		return content{}, err
	}
	return c, c.sort()
}

// sort sorts the entries by path; two entries with one path are an error.
func (c *content) sort() error {
	slices.SortFunc(c.Entries, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(c.Entries); i++ {
		if c.Entries[i].Path == c.Entries[i-1].Path {
			return fmt.Errorf("%s: is committed, and the build links a package at the same path", c.Entries[i].Path)
		}
	}
	return nil
}

// only is the content without the entries that keep rejects.
func (c content) only(keep func(entry) bool) content {
	kept, count := make([]bool, len(c.Entries)), 0
	for i, e := range c.Entries {
		if kept[i] = keep(e); kept[i] {
			count++
		}
	}
	out := c
	out.Entries = make([]entry, 0, count) // there may be many, and many copies
	for i, e := range c.Entries {
		if kept[i] {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

// without is the content without the folders, their content, and the parent folders
// that hold nothing else: an engine makes those for a mount.
func (c content) without(folders []string) content {
	out := c
	for _, f := range folders {
		out = out.only(func(e entry) bool { return e.Path != f && !strings.HasPrefix(e.Path, f+"/") })
		for d := path.Dir(f); d != "." && !out.hasBelow(d); d = path.Dir(d) {
			out = out.only(func(e entry) bool { return e.Path != d || e.Kind != kindDir })
		}
	}
	if len(out.Entries) != len(c.Entries) {
		out.dir = "" // the folder holds more than that
	}
	return out
}

func (c content) hasBelow(folder string) bool {
	return slices.ContainsFunc(c.Entries, func(e entry) bool { return strings.HasPrefix(e.Path, folder+"/") })
}

// each calls fn with every entry in order, files with their size and bytes.
func (c content) each(ctx context.Context, fn func(entry, io.Reader) error) error {
	next, files := 0, fileReader{roots: c.roots}
	// others passes the entries before the next git blob.
	others := func() error {
		for ; next < len(c.Entries) && c.Entries[next].blob.ID == ""; next++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := files.pass(c.Entries[next], fn); err != nil {
				return err
			}
		}
		return nil
	}
	var blobs []git.File
	for _, e := range c.Entries {
		if e.blob.ID != "" {
			blobs = append(blobs, e.blob)
		}
	}
	err := c.source.Read(ctx, blobs, func(_ git.File, size int64, r io.Reader) error {
		if err := others(); err != nil {
			return err
		}
		e := c.Entries[next]
		e.Size = size
		next++
		if size <= workspace.MaxLFSPointer {
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if pointer := workspace.LFSPointer(e.Path, data); pointer != nil && e.Kind == kindFile {
				return release.Refuse([]release.Finding{*pointer}, nil)
			}
			r = bytes.NewReader(data)
		}
		return fn(e, r)
	})
	if err != nil {
		return err
	}
	return others()
}

// committed reports whether any of the content is in git.
func (c content) committed() bool {
	return slices.ContainsFunc(c.Entries, func(e entry) bool { return e.blob.ID != "" })
}
