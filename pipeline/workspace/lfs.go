package workspace

import (
	"bytes"
	"context"
	"io"
	"path"

	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// MaxLFSPointer is the greatest size of a Git LFS pointer, in bytes; see
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.
const MaxLFSPointer = 1023

// LFSPointer is the finding that a file's content is a pointer of Git LFS; nil
// if it is not.
func LFSPointer(file string, content []byte) *release.Finding {
	if len(content) > MaxLFSPointer || !bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/spec/")) {
		return nil
	}
	return &release.Finding{
		Code: release.CodeLFSPointer, Severity: release.Refuses, Object: file, Fixed: true,
		Message: "is a pointer of Git LFS: the content is not in the commit", Hint: "commit the file itself (git lfs migrate export), or leave it out of the closure",
	}
}

// lfsPointers refuses pointers where the tree uses Git LFS. Elsewhere the files
// are not read for it; the build looks at each when it reads it anyway.
func (b *closureBuilder) lfsPointers(ctx context.Context) error {
	used, err := b.usesLFS(ctx)
	if err != nil || !used {
		return err
	}
	found, err := b.done.LFSPointers(ctx, b.source)
	b.findings = append(b.findings, found...)
	return err
}

// LFSPointers reads every file of the closure, and finds those that are pointers of
// Git LFS, whether or not attributes of the tree say so.
func (c Closure) LFSPointers(ctx context.Context, s git.Source) ([]release.Finding, error) {
	var files []git.File
	for _, f := range c.Files {
		if !f.Link() && !f.Submodule() {
			files = append(files, f)
		}
	}
	var found []release.Finding
	err := s.Read(ctx, files, func(f git.File, size int64, r io.Reader) error {
		if size > MaxLFSPointer {
			return nil
		}
		content, err := io.ReadAll(r)
		if pointer := LFSPointer(f.Path, content); pointer != nil {
			found = append(found, *pointer)
		}
		return err
	})
	return found, err
}

// usesLFS reports whether any attributes of the tree hand files to Git LFS.
func (b *closureBuilder) usesLFS(ctx context.Context) (bool, error) {
	var attributes []string
	for _, f := range b.source.Entries("") {
		if path.Base(f.Path) == ".gitattributes" {
			attributes = append(attributes, f.Path)
		}
	}
	used := false
	err := b.source.ReadFiles(ctx, attributes, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		used = used || bytes.Contains(data, []byte("filter=lfs"))
		return err
	})
	return used, err
}
