// Package lockfile reads what a package manager resolved: pnpm-lock.yaml, bun.lock and
// package-lock.json. It is the only place that knows their formats.
package lockfile

import (
	"bytes"
	"fmt"
	"path"
)

// The names of the files that Parse reads.
const (
	PNPM = "pnpm-lock.yaml"
	Bun  = "bun.lock" // the text form
	NPM  = "package-lock.json"
)

// Lockfile is a parsed lockfile.
type Lockfile struct {
	format format
	data   []byte
}

// format is one kind of lockfile. Folders of the workspace are relative to its
// root, which is "".
type format interface {
	links() map[Dependency]bool
	ranges() map[string]map[string]string
	packages() (map[string]Package, error)
	declared(folders map[string]bool) map[string]bool
	cut(data []byte, keep map[string]bool) ([]byte, bool)
}

// Dependency is a dependency of a package of the workspace.
type Dependency struct {
	Folder string // of the package that declares it
	Name   string
}

// Package is one installed package, or one package of the workspace.
type Package struct {
	Name      string
	Version   string
	Integrity string   // as npm writes it: sha512-…; "" for a package of the workspace or a git source
	Folder    string   // of a package of the workspace, "." for the root; "" otherwise
	Needs     []string // ids
	MayNeed   []string // ids of optional ones
	Limits    Limits   // platforms that it is for, as far as the lockfile says it
}

// FolderID is the id of a package of the workspace in Packages.
func FolderID(folder string) string { return "folder:" + folder }

// Known reports whether Parse reads files of that name.
func Known(name string) bool { return name == PNPM || name == Bun || name == NPM }

// Parse reads a lockfile whose name is PNPM, Bun or NPM.
func Parse(name string, data []byte) (Lockfile, error) {
	l := Lockfile{data: data}
	var err error
	switch name {
	case PNPM:
		l.format, err = parsePnpm(data)
	case Bun:
		l.format, err = parseBun(data)
	case NPM:
		l.format, err = parseNPM(data)
	default:
		err = fmt.Errorf("is none of %s, %s and %s", PNPM, Bun, NPM)
	}
	if err != nil {
		return Lockfile{}, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// Links are the dependencies that resolve to a package of the workspace.
func (l Lockfile) Links() map[Dependency]bool { return l.format.links() }

// Ranges are the version ranges that the lockfile was made from, by the folder
// of the package that declares them and by name.
func (l Lockfile) Ranges() map[string]map[string]string { return l.format.ranges() }

// Packages are all packages by the lockfile's own ids; those of the workspace
// have the id of FolderID. Development dependencies of the workspace's packages
// are not among their needs.
func (l Lockfile) Packages() (map[string]Package, error) { return l.format.packages() }

// Declared are the further packages of the workspace, by folder, whose manifests
// an install of those in folders must find: bun looks for everything that any of
// them declares, also for development.
func (l Lockfile) Declared(folders map[string]bool) map[string]bool {
	return l.format.declared(folders)
}

// Cut is the lockfile without the packages of the workspace that are not in keep
// and without what only these need; what stays keeps its bytes. false: all of it
// is needed, or it is not written as its package manager writes it.
func (l Lockfile) Cut(keep map[string]bool) ([]byte, bool) {
	cut, ok := l.format.cut(l.data, keep)
	return cut, ok && !bytes.Equal(cut, l.data)
}

// workspaceFolder is the folder that a key such as "." or "packages/a" stands for.
func workspaceFolder(key string) string {
	if key == "." {
		return ""
	}
	return path.Clean(key)
}
