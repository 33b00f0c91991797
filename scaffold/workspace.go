package scaffold

import (
	"cmp"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/internal/pattern"
)

// member is one package of the workspace.
type member struct {
	dir   string // from the root
	name  string // as its package.json says; may be ""
	start []string
}

// id is the member's name without a scope, or that of its folder.
func (m member) id() string { return slug(path.Base(m.dir)) }

// answersTo reports whether a service or an image is named like the member.
func (m member) answersTo(name string) bool {
	return name == m.id() || name != "" && name == slug(path.Base(m.name))
}

type packageJSON struct {
	Name           string            `json:"name"`
	Scripts        map[string]string `json:"scripts"`
	PackageManager string            `json:"packageManager"`
	Engines        map[string]string `json:"engines"`
	Workspaces     workspaceGlobs    `json:"workspaces"`
}

// members are the packages that the root declares; where it declares none, every
// folder with a package.json, or the root alone.
func members(f files) []member {
	globs := workspaceGlobsOf(f)
	var found []member
	for _, at := range f.named("package.json") {
		dir := path.Dir(at)
		var pkg packageJSON
		if dir == "." || len(globs) > 0 && !matches(globs, dir) || !f.json(at, &pkg) {
			continue
		}
		found = append(found, member{dir: dir, name: pkg.Name, start: strings.Fields(pkg.Scripts["start"])})
	}
	var root packageJSON
	if len(found) == 0 && f.json("package.json", &root) {
		found = []member{{dir: ".", name: root.Name, start: strings.Fields(root.Scripts["start"])}}
	}
	return found
}

// workspaceGlobs are a list, or an object that holds one.
type workspaceGlobs []string

func (w *workspaceGlobs) UnmarshalJSON(data []byte) error {
	var node struct {
		Packages []string `yaml:"packages"`
	}
	if yaml.Unmarshal(data, (*[]string)(w)) != nil && yaml.Unmarshal(data, &node) == nil {
		*w = node.Packages
	}
	return nil // what is neither names no package
}

func workspaceGlobsOf(f files) []string {
	var pnpm struct {
		Packages []string `yaml:"packages"`
	}
	if yaml.Unmarshal([]byte(f.text("pnpm-workspace.yaml")), &pnpm) == nil && len(pnpm.Packages) > 0 {
		return pnpm.Packages
	}
	var root packageJSON
	f.json("package.json", &root)
	return root.Workspaces
}

// matches reports whether a folder is meant by the globs; one that begins with "!"
// takes folders out.
func matches(globs []string, dir string) bool {
	in := false
	for _, glob := range globs {
		pattern, not := strings.CutPrefix(glob, "!")
		pattern = regexp.QuoteMeta(path.Clean(pattern))
		pattern = strings.NewReplacer(`/\*\*`, `(/.*)?`, `\*\*`, `.*`, `\*`, `[^/]*`).Replace(pattern)
		if ok, err := regexp.MatchString("^"+pattern+"$", dir); err == nil && ok {
			in = !not
		}
	}
	return in
}

// manager is the package manager of the repository.
type manager struct {
	name string // pnpm, npm, bun or yarn; "" if unknown
	from string // where it was found
}

func managerOf(f files) manager {
	var root packageJSON
	f.json("package.json", &root)
	if name, _, ok := strings.Cut(root.PackageManager, "@"); ok {
		return manager{name, place("package.json", lineOf(f.text("package.json"), `"packageManager"`))}
	}
	for _, lock := range []struct{ file, name string }{
		{"pnpm-lock.yaml", "pnpm"}, {"package-lock.json", "npm"}, {"bun.lock", "bun"}, {"bun.lockb", "bun"}, {"yarn.lock", "yarn"},
	} {
		if f.has(lock.file) {
			return manager{lock.name, lock.file}
		}
	}
	return manager{}
}

// install is the command that installs from the lockfile what one package needs: to
// run, or also to be built. nil if the manager has no such command that is known.
func (m manager) install(p member, production bool) []string {
	command := map[string][]string{
		"pnpm": {"pnpm", "install", "--frozen-lockfile"}, "bun": {"bun", "install", "--frozen-lockfile"}, "npm": {"npm", "ci"},
	}[m.name]
	if command == nil {
		return nil
	}
	if production {
		command = append(command, map[string]string{"pnpm": "--prod", "bun": "--production", "npm": "--omit=dev"}[m.name])
	}
	switch target := cmp.Or(p.name, "./"+p.dir); {
	case p.dir == ".":
	case m.name == "npm":
		command = append(command, "--workspace", p.dir)
	case m.name == "bun":
		command = append(command, "--filter", target)
	default:
		command = append(command, "--filter", target+"...")
	}
	return command
}

var notSlug = pattern.Lazy(`[^a-z0-9]+`)

// slug makes a valid role name of s, short enough to append a number.
func slug(s string) string {
	s = strings.Trim(notSlug().ReplaceAllString(strings.ToLower(s), "-"), "-")
	return cmp.Or(strings.TrimRight(s[:min(len(s), 36)], "-"), "app")
}
