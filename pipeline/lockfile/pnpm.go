package lockfile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pnpmLock is what shipit reads of pnpm-lock.yaml: importers are the packages of
// the workspace, snapshots what is installed, each for one set of peers.
type pnpmLock struct {
	Version   string                  `yaml:"lockfileVersion"`
	Importers map[string]pnpmImporter `yaml:"importers"`
	Resolved  map[string]pnpmPackage  `yaml:"packages"`
	Snapshots map[string]pnpmSnapshot `yaml:"snapshots"`
}

type pnpmPackage struct {
	Resolution struct {
		Integrity string `yaml:"integrity"`
		Directory string `yaml:"directory"`
	} `yaml:"resolution"`
	Limits `yaml:",inline"`
}

type pnpmImporter struct {
	Dependencies         map[string]pnpmDependency `yaml:"dependencies"`
	DevDependencies      map[string]pnpmDependency `yaml:"devDependencies"`
	OptionalDependencies map[string]pnpmDependency `yaml:"optionalDependencies"`
}

func (i pnpmImporter) all() []map[string]pnpmDependency {
	return []map[string]pnpmDependency{i.Dependencies, i.DevDependencies, i.OptionalDependencies}
}

type pnpmDependency struct {
	Specifier string `yaml:"specifier"`
	Version   string `yaml:"version"`
}

type pnpmSnapshot struct {
	Dependencies         map[string]string `yaml:"dependencies"`
	OptionalDependencies map[string]string `yaml:"optionalDependencies"`
}

// snapshotKey is where "snapshots" holds a dependency; "" if that is a link.
func snapshotKey(name, version string) string {
	if strings.HasPrefix(version, "link:") {
		return ""
	}
	base, _, _ := strings.Cut(version, "(")
	if at := strings.LastIndex(base, "@"); at > 0 && !strings.Contains(base, ":") {
		return version // an alias names the package itself
	}
	return name + "@" + version
}

func parsePnpm(data []byte) (pnpmLock, error) {
	var lock pnpmLock
	err := yaml.Unmarshal(data, &lock)
	return lock, err
}

func (lock pnpmLock) links() map[Dependency]bool {
	out := map[Dependency]bool{}
	for key, imp := range lock.Importers {
		for _, deps := range imp.all() {
			for name, dep := range deps {
				if strings.HasPrefix(dep.Version, "link:") {
					out[Dependency{Folder: workspaceFolder(key), Name: name}] = true
				}
			}
		}
	}
	return out
}

func (lock pnpmLock) ranges() map[string]map[string]string {
	out := map[string]map[string]string{}
	for key, imp := range lock.Importers {
		specs := map[string]string{}
		for _, deps := range imp.all() {
			for name, dep := range deps {
				specs[name] = dep.Specifier
			}
		}
		out[workspaceFolder(key)] = specs
	}
	return out
}

// declared is empty: pnpm leaves alone what it does not install.
func (lock pnpmLock) declared(map[string]bool) map[string]bool { return nil }

func (lock pnpmLock) packages() (map[string]Package, error) {
	if !strings.HasPrefix(lock.Version, "9.") {
		return nil, fmt.Errorf("%s: version %q is not 9: install with pnpm 9 or later", PNPM, lock.Version)
	}
	all := map[string]Package{}
	for folder, importer := range lock.Importers {
		p := Package{Name: folder, Folder: folder}
		for _, name := range slices.Sorted(maps.Keys(importer.Dependencies)) {
			p.Needs = append(p.Needs, lock.id(folder, name, importer.Dependencies[name].Version))
		}
		for _, name := range slices.Sorted(maps.Keys(importer.OptionalDependencies)) {
			p.MayNeed = append(p.MayNeed, lock.id(folder, name, importer.OptionalDependencies[name].Version))
		}
		all[FolderID(folder)] = p
	}
	for id, snapshot := range lock.Snapshots {
		base, _, _ := strings.Cut(id, "(") // without the peers that it was resolved for
		resolution := lock.Resolved[base].Resolution
		p := Package{Integrity: resolution.Integrity, Folder: resolution.Directory, Limits: lock.Resolved[base].Limits}
		p.Name, p.Version = splitID(base)
		if p.Folder != "" {
			p.Version = ""
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Dependencies)) {
			p.Needs = append(p.Needs, lock.id(p.Folder, name, snapshot.Dependencies[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.OptionalDependencies)) {
			p.MayNeed = append(p.MayNeed, lock.id(p.Folder, name, snapshot.OptionalDependencies[name]))
		}
		all[id] = p
	}
	return all, nil
}

// id is what a dependency resolves to: a folder of the workspace, a version of
// that name, or for an alias the whole id of another package.
func (lock pnpmLock) id(from, name, version string) string {
	if folder, ok := strings.CutPrefix(version, "link:"); ok {
		return FolderID(path.Join(from, folder))
	}
	if _, alias := lock.Snapshots[version]; alias {
		return version
	}
	return name + "@" + version
}

// splitID takes name and version out of name@version; a name may begin with @.
func splitID(id string) (name, version string) {
	if len(id) < 2 {
		return id, ""
	}
	if i := strings.Index(id[1:], "@"); i >= 0 {
		return id[:i+1], id[i+2:]
	}
	return id, ""
}
