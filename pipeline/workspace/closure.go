package workspace

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/release"
)

// Closure is what goes into an image: a package, the packages that it links to,
// and what of the root these need to be installed. Nothing else of the
// repository is an input.
type Closure struct {
	Package  string     // folder of the package that the image is for
	Packages []Package  // it and what it reaches by workspace links, by folder
	Lockfile string     // path; "" if the commit has none
	Files    []git.File // sorted by path, as committed

	Root        Package // of the workspace
	Links       []Link
	DevLinks    []Link            // development dependencies on packages of the workspace that are not in
	Members     map[string]string // folder of every package of the workspace, by name
	CutLockfile []byte            // the lockfile without the packages that are not in; nil: as committed

	lock lockfile.Lockfile
}

// Link is a dependency of one package of the workspace on another.
type Link struct {
	From string // folder
	Name string // under which From imports it
	To   string // folder
}

// Paths are the folders and the files outside these that are inputs, sorted. A
// change elsewhere cannot change the image.
func (c Closure) Paths() []string {
	var out []string
	for _, p := range c.Packages {
		out = append(out, p.Dir)
	}
	for _, f := range c.Files {
		if !slices.ContainsFunc(c.Packages, func(p Package) bool { return below(f.Path, p.Dir) }) {
			out = append(out, f.Path)
		}
	}
	slices.Sort(out)
	return out
}

// Owner is the package of the closure that a file belongs to: the innermost
// whose folder holds it.
func (c Closure) Owner(file string) (Package, bool) {
	best, ok := Package{}, false
	for _, p := range c.Packages {
		if below(file, p.Dir) && (!ok || len(p.Dir) > len(best.Dir)) {
			best, ok = p, true
		}
	}
	return best, ok
}

// External are the dependencies that a package manager has to install: those of the
// closure's packages that no package of the workspace is.
func (c Closure) External() []Link {
	var out []Link
	for _, p := range c.Packages {
		for _, name := range slices.Sorted(maps.Keys(p.manifest.Dependencies)) {
			linked := slices.ContainsFunc(c.Links, func(l Link) bool { return l.From == p.Dir && l.Name == name })
			if kind, _, _ := strings.Cut(p.manifest.Dependencies[name], ":"); !linked && kind != "file" && kind != "link" && kind != "portal" {
				out = append(out, Link{From: p.Dir, Name: name})
			}
		}
	}
	return out
}

// below reports whether p is dir or stands in it.
func below(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir+"/")
}

// NewClosure follows the links of img.Package. What makes an image of it
// impossible (a linked package that is missing, a link out of the repository, a
// submodule) is a *release.Refusal that names all such files, not the first.
func NewClosure(ctx context.Context, s git.Source, img config.Image) (Closure, error) {
	w, err := readWorkspace(ctx, s)
	if err != nil {
		return Closure{}, err
	}
	return newClosure(ctx, s, img, w)
}

// NewInstallable is NewClosure of what a package manager will install: a
// lockfile that was not made from the packages' manifests is refused too.
func NewInstallable(ctx context.Context, s git.Source, img config.Image) (Closure, error) {
	w, err := readWorkspace(ctx, s)
	if err != nil {
		return Closure{}, err
	}
	c, err := newClosure(ctx, s, img, w)
	if err != nil {
		return Closure{}, err
	}
	return c, release.Refuse(staleLockfile(c, w), nil)
}

func newClosure(ctx context.Context, s git.Source, img config.Image, w workspace) (Closure, error) {
	b := closureBuilder{source: s, space: w, done: Closure{Root: w.root}, packages: map[string]Package{}, extra: map[string]bool{}}
	if err := b.collect(ctx, img); err != nil {
		return Closure{}, err
	}
	if err := b.files(ctx); err != nil {
		return Closure{}, err
	}
	if len(b.findings) > 0 {
		return Closure{}, &release.Refusal{Findings: b.findings}
	}
	b.done.DevLinks, b.done.Members = b.devLinks(), map[string]string{}
	for dir, p := range w.packages {
		b.done.Members[p.Name] = dir
	}
	b.cutLockfile()
	return b.done, nil
}

type closureBuilder struct {
	source   git.Source
	space    workspace
	packages map[string]Package           // reached, by folder
	extra    map[string]bool              // files and folders outside the packages
	linked   map[lockfile.Dependency]bool // what the lockfile resolves to the workspace
	findings []release.Finding
	done     Closure
}

func (b *closureBuilder) refuse(code release.Code, object, message, hint string) {
	b.findings = append(b.findings, release.Finding{
		Code: code, Severity: release.Refuses, Object: object, Message: message, Hint: hint, Fixed: true,
	})
}

// lockfiles are looked for in this order.
func lockfiles() []string { return []string{lockfile.PNPM, lockfile.Bun, "bun.lockb", lockfile.NPM} }

// rootFiles say how packages are installed, so they are inputs if they are at the root.
func rootFiles() []string {
	return []string{"package.json", pnpmWorkspaceFile, ".npmrc", ".pnpmfile.cjs", "bunfig.toml"}
}

func (b *closureBuilder) collect(ctx context.Context, img config.Image) error {
	s := b.source
	dir := strings.Trim(path.Clean("/"+img.Package), "/")
	start, err := readPackages(ctx, s, []string{path.Join(dir, "package.json")})
	if err != nil {
		return err
	}
	if len(start) == 0 {
		b.refuse(release.CodePackageMissing, path.Join(dir, "package.json"), fmt.Sprintf("not in the tree of %.7s", s.SHA), "images.*.package names a folder with a package.json")
		return nil
	}
	for _, name := range lockfiles() {
		if _, ok := s.File(name); ok {
			b.done.Lockfile, b.extra[name] = name, true
			break
		}
	}
	if err := b.readLockfile(ctx); err != nil {
		return err
	}
	b.done.Package = dir
	if err := b.follow(ctx, start[0]); err != nil {
		return err
	}
	for _, name := range rootFiles() {
		if _, ok := s.File(name); ok {
			b.extra[name] = true
		}
	}
	b.root()
	b.addDeclared()
	for _, inc := range img.Include {
		inc = path.Clean(inc)
		if !s.Has(inc) && inc != "." {
			b.refuse(release.CodeIncludeMissing, inc, fmt.Sprintf("is in include, but not in the tree of %.7s", s.SHA), "")
		}
		b.extra[inc] = true
	}
	return nil
}

// readLockfile notes which version ranges the lockfile resolves to a package of
// the workspace, as bun does and pnpm with link-workspace-packages.
func (b *closureBuilder) readLockfile(ctx context.Context) error {
	if !lockfile.Known(b.done.Lockfile) {
		return nil
	}
	data, err := b.source.ReadFile(ctx, b.done.Lockfile)
	if err != nil {
		return err
	}
	if b.done.lock, err = lockfile.Parse(b.done.Lockfile, data); err != nil {
		return err
	}
	b.linked = b.done.lock.Links()
	return nil
}

// follow adds p and everything that it links to.
func (b *closureBuilder) follow(ctx context.Context, p Package) error {
	if _, seen := b.packages[p.Dir]; seen {
		return nil
	}
	b.packages[p.Dir] = p
	deps := p.manifest.runtimeDependencies()
	for _, name := range slices.Sorted(maps.Keys(deps)) {
		to, ok, err := b.target(ctx, p, name, deps[name])
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		b.done.Links = append(b.done.Links, Link{From: p.Dir, Name: name, To: to.Dir})
		if err := b.follow(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// devLinks are the development dependencies of the closure on packages of the
// workspace that are not in it.
func (b *closureBuilder) devLinks() []Link {
	var out []Link
	for _, dir := range slices.Sorted(maps.Keys(b.packages)) {
		p := b.packages[dir]
		for _, name := range slices.Sorted(maps.Keys(p.manifest.DevDependencies)) {
			to, ok := b.space.byName(name)
			_, in := b.packages[to.Dir]
			linked := strings.HasPrefix(p.manifest.DevDependencies[name], "workspace:") || b.linked[lockfile.Dependency{Folder: dir, Name: name}]
			if ok && !in && linked {
				out = append(out, Link{From: dir, Name: name, To: to.Dir})
			}
		}
	}
	return out
}

// target is the package of the workspace that a dependency stands for; false if
// it comes from a registry, or if it was refused.
func (b *closureBuilder) target(ctx context.Context, p Package, name, spec string) (Package, bool, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch kind {
	case "workspace":
		if strings.HasPrefix(rest, ".") {
			return b.local(ctx, p, name, spec, rest)
		}
		wanted := name
		if at := strings.LastIndex(rest, "@"); at > 0 {
			wanted = rest[:at]
		}
		to, ok := b.space.byName(wanted)
		if !ok {
			b.missing(p, wanted, spec)
		}
		return to, ok, nil
	case "link", "file", "portal":
		return b.local(ctx, p, name, spec, rest)
	}
	if b.linked[lockfile.Dependency{Folder: p.Dir, Name: name}] {
		to, ok := b.space.byName(name)
		if !ok {
			b.missing(p, name, spec)
		}
		return to, ok, nil
	}
	return Package{}, false, nil
}

func (b *closureBuilder) missing(p Package, name, spec string) {
	where := b.space.file
	if where == "" {
		where = "no workspace is declared"
	}
	b.refuse(release.CodePackageMissing, p.ManifestPath(),
		fmt.Sprintf("wants %s (%s), and no package of the workspace has that name", name, spec),
		fmt.Sprintf("commit the package, or drop the dependency; packages are found by %s", where))
}

// local is a dependency on a path of the repository.
func (b *closureBuilder) local(ctx context.Context, p Package, name, spec, rest string) (Package, bool, error) {
	to, ok := Inside(p.Dir, rest)
	if !ok {
		b.refuse(release.CodeLinkOutside, p.ManifestPath(), fmt.Sprintf("wants %s (%s), which is outside the repository", name, spec),
			"what is not in the commit cannot be shipped: move it into the workspace or publish it")
		return Package{}, false, nil
	}
	if known, ok := b.space.packages[to]; ok {
		return known, true, nil
	}
	found, err := readPackages(ctx, b.source, []string{path.Join(to, "package.json")})
	if err != nil {
		return Package{}, false, err
	}
	if len(found) == 1 {
		return found[0], true, nil
	}
	if _, ok := b.source.File(to); ok { // a packed package
		b.extra[to] = true
		return Package{}, false, nil
	}
	b.missing(p, name, spec)
	return Package{}, false, nil
}
