package workspace

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/release"
)

// Inside resolves a relative path from a folder of the repository; false if it leaves it.
func Inside(dir, rel string) (string, bool) {
	if path.IsAbs(rel) || strings.HasPrefix(rel, "~") {
		return "", false
	}
	p := path.Join(dir, rel)
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", false
	}
	if p == "." {
		p = ""
	}
	return p, true
}

// root checks and adds what the root's own manifest refers to.
func (b *closureBuilder) root() {
	m := b.space.root.manifest
	for _, deps := range []map[string]string{m.Dependencies, m.DevDependencies, m.OptionalDependencies, m.Pnpm.Overrides, b.space.pnpm.Overrides} {
		for _, name := range slices.Sorted(maps.Keys(deps)) {
			kind, rest, _ := strings.Cut(deps[name], ":")
			if kind != "link" && kind != "file" && kind != "portal" {
				continue
			}
			to, ok := Inside("", rest)
			if !ok {
				b.refuse(release.CodeLinkOutside, "package.json", fmt.Sprintf("wants %s (%s), which is outside the repository", name, deps[name]),
					"what is not in the commit cannot be shipped: move it into the workspace or publish it")
			} else if b.source.Has(to) {
				b.extra[to] = true
			}
		}
	}
	for _, patches := range []map[string]string{m.PatchedDependencies, m.Pnpm.PatchedDependencies, b.space.pnpm.PatchedDependencies} {
		for _, name := range slices.Sorted(maps.Keys(patches)) {
			p, ok := Inside("", patches[name])
			if _, there := b.source.File(p); !ok || !there {
				b.refuse(release.CodePatchMissing, patches[name], fmt.Sprintf("the patch of %s is not in the tree", name), "")
			}
			b.extra[p] = true
		}
	}
}

// files lists what the packages and the extra paths hold, and checks each.
func (b *closureBuilder) files(ctx context.Context) error {
	all := map[string]git.File{}
	for dir := range b.packages {
		for _, f := range b.source.Entries(dir) {
			if b.owner(f.Path) == dir {
				all[f.Path] = f
			}
		}
		b.done.Packages = append(b.done.Packages, b.packages[dir])
	}
	for p := range b.extra {
		for _, f := range b.source.Entries(p) {
			all[f.Path] = f
		}
	}
	if err := b.tsconfigs(ctx, all); err != nil {
		return err
	}
	if err := b.followLinks(ctx, all); err != nil {
		return err
	}
	b.done.Files = slices.SortedFunc(maps.Values(all), func(x, y git.File) int { return strings.Compare(x.Path, y.Path) })
	sort.Slice(b.done.Packages, func(i, j int) bool { return b.done.Packages[i].Dir < b.done.Packages[j].Dir })
	for _, f := range b.done.Files {
		if f.Submodule() {
			b.refuse(release.CodeSubmodule, f.Path, "is a submodule, whose content is not in the commit", "commit the files themselves, or publish them as a package")
		}
	}
	return b.lfsPointers(ctx)
}

// owner is the folder of the innermost package that holds p. A package inside
// another's folder goes in only if it is linked to.
func (b *closureBuilder) owner(p string) string {
	for dir := path.Dir(p); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if _, ok := b.space.packages[dir]; ok {
			return dir
		}
		if _, ok := b.packages[dir]; ok {
			return dir
		}
	}
	return ""
}

// followLinks checks every symbolic link, and adds the file that it leads to.
func (b *closureBuilder) followLinks(ctx context.Context, all map[string]git.File) error {
	for seen := map[string]bool{}; ; {
		var links []git.File
		for _, p := range slices.Sorted(maps.Keys(all)) {
			if f := all[p]; f.Link() && !seen[p] {
				seen[p] = true
				links = append(links, f)
			}
		}
		if len(links) == 0 {
			return nil
		}
		err := b.source.Read(ctx, links, func(l git.File, _ int64, r io.Reader) error {
			target, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			to, ok := Inside(path.Dir(l.Path), string(target))
			file, isFile := b.source.File(to)
			switch {
			case !ok:
				b.refuse(release.CodeLinkOutside, l.Path, fmt.Sprintf("is a symbolic link to %s, which is outside the repository", target), "commit the file itself")
			case isFile:
				all[to] = file
			case b.source.Has(to) && !holds(all, to):
				b.refuse(release.CodeLinkDangling, l.Path, fmt.Sprintf("is a symbolic link to the folder %s, which does not go into the image", to), "name "+to+" under include of the image in shipit.yaml")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// holds reports whether any of the files is in a folder.
func holds(files map[string]git.File, folder string) bool {
	for p := range files {
		if strings.HasPrefix(p, folder+"/") {
			return true
		}
	}
	return folder == ""
}
