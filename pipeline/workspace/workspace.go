// Package workspace finds what of a monorepo an image needs: the packages that
// the commit declares, and the closure of one of them. Nothing else of the
// repository is an input of the image.
package workspace

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/pipeline/git"
)

// Package is one package of the workspace.
type Package struct {
	Dir  string // from the repository's root; "" is the root
	Name string

	manifest manifest
}

// ManifestPath is the path of its package.json.
func (p Package) ManifestPath() string { return path.Join(p.Dir, "package.json") }

// Declares reports whether the package may import name when it runs.
func (p Package) Declares(name string) bool { return p.manifest.declares(name) }

// DependsOn reports whether name is among its dependencies.
func (p Package) DependsOn(name string) bool {
	_, ok := p.manifest.Dependencies[name]
	return ok
}

// DeclaredIn names the fields of its manifest that list name, such as peerDependencies.
func (p Package) DeclaredIn(name string) []string {
	var fields []string
	for _, field := range []struct {
		name string
		of   map[string]string
	}{
		{"dependencies", p.manifest.Dependencies}, {"devDependencies", p.manifest.DevDependencies},
		{"peerDependencies", p.manifest.PeerDependencies}, {"optionalDependencies", p.manifest.OptionalDependencies},
	} {
		if _, ok := field.of[name]; ok {
			fields = append(fields, field.name)
		}
	}
	return fields
}

// workspace is every package that the commit declares.
type workspace struct {
	root     Package
	file     string // that declares the globs; "" if nothing does
	globs    []string
	packages map[string]Package // by folder, the root apart
	pnpm     pnpmWorkspace
}

type pnpmWorkspace struct {
	Packages            []string          `yaml:"packages"`
	PatchedDependencies map[string]string `yaml:"patchedDependencies"`
	Overrides           map[string]string `yaml:"overrides"`
}

func (w workspace) byName(name string) (Package, bool) {
	for _, dir := range slices.Sorted(maps.Keys(w.packages)) {
		if w.packages[dir].Name == name {
			return w.packages[dir], true
		}
	}
	if w.root.Name != "" && w.root.Name == name {
		return w.root, true
	}
	return Package{}, false
}

const pnpmWorkspaceFile = "pnpm-workspace.yaml"

// readWorkspace reads the manifests of all packages that the globs of
// pnpm-workspace.yaml, or of the root's package.json, match.
func readWorkspace(ctx context.Context, s git.Source) (workspace, error) {
	w := workspace{packages: map[string]Package{}}
	root, err := readPackages(ctx, s, []string{"package.json"})
	if err != nil {
		return w, err
	}
	if len(root) == 1 {
		w.root, w.file, w.globs = root[0], "package.json", root[0].manifest.Workspaces
	}
	if _, ok := s.File(pnpmWorkspaceFile); ok {
		data, err := s.ReadFile(ctx, pnpmWorkspaceFile)
		if err != nil {
			return w, err
		}
		if err := yaml.Unmarshal(data, &w.pnpm); err != nil {
			return w, fmt.Errorf("%s: %w", pnpmWorkspaceFile, err)
		}
		if len(w.pnpm.Packages) > 0 { // else it holds settings only
			w.file, w.globs = pnpmWorkspaceFile, w.pnpm.Packages
		}
	}
	if len(w.globs) == 0 {
		return w, nil
	}
	match, err := globSet(w.globs)
	if err != nil {
		return w, fmt.Errorf("%s: %w", w.file, err)
	}
	var manifests []string
	for _, f := range s.Entries("") {
		dir, base := path.Split(f.Path)
		dir = strings.TrimSuffix(dir, "/")
		if base == "package.json" && dir != "" && !InNodeModules(f.Path) && match(dir) {
			manifests = append(manifests, f.Path)
		}
	}
	found, err := readPackages(ctx, s, manifests)
	for _, p := range found {
		w.packages[p.Dir] = p
	}
	return w, err
}

// readPackages reads those of the manifests that the commit has.
func readPackages(ctx context.Context, s git.Source, manifests []string) ([]Package, error) {
	var out []Package
	err := s.ReadFiles(ctx, manifests, func(file string, r io.Reader) error {
		var m manifest
		data, err := io.ReadAll(r)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		dir := strings.TrimSuffix(strings.TrimSuffix(file, "package.json"), "/")
		out = append(out, Package{Dir: dir, Name: m.Name, manifest: m})
		return nil
	})
	return out, err
}

// InNodeModules reports whether a path is a node_modules folder or below one.
func InNodeModules(p string) bool {
	return p == "node_modules" || strings.HasPrefix(p, "node_modules/") ||
		strings.Contains(p, "/node_modules/") || strings.HasSuffix(p, "/node_modules")
}
