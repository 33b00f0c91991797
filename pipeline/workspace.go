package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// manifest is what shipit reads of a package.json.
type manifest struct {
	Name                 string            `json:"name"`
	Workspaces           workspaces        `json:"workspaces"`
	Dependencies         map[string]string `json:"dependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
	PatchedDependencies  map[string]string `json:"patchedDependencies"` // bun
	Resolutions          map[string]string `json:"resolutions"`         // yarn's overrides, which pnpm takes too
	Pnpm                 struct {
		PatchedDependencies map[string]string `json:"patchedDependencies"`
		Overrides           map[string]string `json:"overrides"`
	} `json:"pnpm"`
}

// workspaces is a list of globs, or an object that holds one.
type workspaces []string

// UnmarshalJSON reads both forms.
func (w *workspaces) UnmarshalJSON(data []byte) error {
	var object struct {
		Packages []string `json:"packages"`
	}
	if json.Unmarshal(data, &object) == nil {
		*w = object.Packages
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// runtimeDependencies are the ones that must be there when the package runs.
// Where a name stands in several maps the stricter one wins.
func (m manifest) runtimeDependencies() map[string]string {
	all := map[string]string{}
	maps.Copy(all, m.PeerDependencies)
	maps.Copy(all, m.OptionalDependencies)
	maps.Copy(all, m.Dependencies)
	return all
}

// declares reports whether the package may import name.
func (m manifest) declares(name string) bool {
	for _, deps := range []map[string]string{m.Dependencies, m.OptionalDependencies, m.PeerDependencies} {
		if _, ok := deps[name]; ok {
			return true
		}
	}
	return m.Name == name
}

// Package is one package of the workspace.
type Package struct {
	Dir  string // from the repository's root; "" is the root
	Name string

	manifest manifest
}

func (p Package) manifestPath() string { return path.Join(p.Dir, "package.json") }

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
func readWorkspace(ctx context.Context, s Source) (workspace, error) {
	w := workspace{packages: map[string]Package{}}
	root, err := readPackages(ctx, s, []string{"package.json"})
	if err != nil {
		return w, err
	}
	if len(root) == 1 {
		w.root, w.file, w.globs = root[0], "package.json", root[0].manifest.Workspaces
	}
	if _, ok := s.files[pnpmWorkspaceFile]; ok {
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
	for p := range s.files {
		dir, base := path.Split(p)
		dir = strings.TrimSuffix(dir, "/")
		if base == "package.json" && dir != "" && !inNodeModules(p) && match(dir) {
			manifests = append(manifests, p)
		}
	}
	slices.Sort(manifests)
	found, err := readPackages(ctx, s, manifests)
	for _, p := range found {
		w.packages[p.Dir] = p
	}
	return w, err
}

// readPackages reads those of the manifests that the commit has.
func readPackages(ctx context.Context, s Source, manifests []string) ([]Package, error) {
	var blobs []blob
	for _, p := range manifests {
		if f, ok := s.files[p]; ok {
			blobs = append(blobs, blob{p, f.ID})
		}
	}
	var out []Package
	err := s.objects.read(ctx, blobs, func(b blob, _ int64, r io.Reader) error {
		var m manifest
		data, err := io.ReadAll(r)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		}
		dir := strings.TrimSuffix(strings.TrimSuffix(b.path, "package.json"), "/")
		out = append(out, Package{Dir: dir, Name: m.Name, manifest: m})
		return nil
	})
	return out, err
}

func inNodeModules(p string) bool {
	return p == "node_modules" || strings.HasPrefix(p, "node_modules/") ||
		strings.Contains(p, "/node_modules/") || strings.HasSuffix(p, "/node_modules")
}

// globSet matches folders as workspaces do: any of the globs, and none of those
// that begin with "!".
func globSet(globs []string) (func(dir string) bool, error) {
	var in, out []*regexp.Regexp
	for _, g := range globs {
		not := strings.HasPrefix(g, "!")
		re, err := globRegexp(strings.TrimPrefix(g, "!"))
		if err != nil {
			return nil, fmt.Errorf("glob %q: %w", g, err)
		}
		if not {
			out = append(out, re)
		} else {
			in = append(in, re)
		}
	}
	any := func(list []*regexp.Regexp, dir string) bool {
		return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(dir) })
	}
	return func(dir string) bool { return any(in, dir) && !any(out, dir) }, nil
}

var globTokens = regexp.MustCompile(`\*\*/|/\*\*$|\*\*|\*|\?|\{|\}|,|.`)

// globRegexp translates **, *, ? and {a,b}.
func globRegexp(glob string) (*regexp.Regexp, error) {
	glob = path.Clean(strings.TrimPrefix(glob, "./"))
	depth := 0
	expr := globTokens.ReplaceAllStringFunc(glob, func(tok string) string {
		switch tok {
		case "**/":
			return `(?:.*/)?`
		case "/**":
			return `(?:/.*)?`
		case "**":
			return `.*`
		case "*":
			return `[^/]*`
		case "?":
			return `[^/]`
		case "{":
			depth++
			return `(?:`
		case "}":
			depth--
			return `)`
		case ",":
			if depth > 0 {
				return "|"
			}
		}
		return regexp.QuoteMeta(tok)
	})
	return regexp.Compile("^" + expr + "$")
}
