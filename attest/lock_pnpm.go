package attest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pnpmLock is pnpm-lock.yaml, version 9: importers are the workspace packages,
// snapshots what is installed, each for one set of peers.
type pnpmLock struct {
	Version   string `yaml:"lockfileVersion"`
	Importers map[string]struct {
		Dependencies map[string]pnpmEdge `yaml:"dependencies"`
		Optional     map[string]pnpmEdge `yaml:"optionalDependencies"`
	} `yaml:"importers"`
	Packages map[string]struct {
		Resolution struct {
			Integrity string `yaml:"integrity"`
			Directory string `yaml:"directory"`
		} `yaml:"resolution"`
	} `yaml:"packages"`
	Snapshots map[string]struct {
		Dependencies map[string]string `yaml:"dependencies"`
		Optional     map[string]string `yaml:"optionalDependencies"`
	} `yaml:"snapshots"`
}

type pnpmEdge struct {
	Version string `yaml:"version"`
}

func readPNPM(data []byte) (packages, error) {
	var lock pnpmLock
	if err := yaml.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("pnpm-lock.yaml: %w", err)
	}
	if !strings.HasPrefix(lock.Version, "9.") {
		return nil, fmt.Errorf("pnpm-lock.yaml: version %q is not 9: install with pnpm 9 or later", lock.Version)
	}
	all := packages{}
	for folder, importer := range lock.Importers {
		p := pkg{name: folder, folder: folder}
		for _, name := range slices.Sorted(maps.Keys(importer.Dependencies)) {
			p.needs = append(p.needs, lock.id(folder, name, importer.Dependencies[name].Version))
		}
		for _, name := range slices.Sorted(maps.Keys(importer.Optional)) {
			p.mayNeed = append(p.mayNeed, lock.id(folder, name, importer.Optional[name].Version))
		}
		all[folderID(folder)] = p
	}
	for id, snapshot := range lock.Snapshots {
		plain, _, _ := strings.Cut(id, "(") // without the peers that it was resolved for
		resolution := lock.Packages[plain].Resolution
		p := pkg{integrity: resolution.Integrity, folder: resolution.Directory}
		p.name, p.version = splitID(plain)
		if p.folder != "" {
			p.version = ""
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Dependencies)) {
			p.needs = append(p.needs, lock.id(p.folder, name, snapshot.Dependencies[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Optional)) {
			p.mayNeed = append(p.mayNeed, lock.id(p.folder, name, snapshot.Optional[name]))
		}
		all[id] = p
	}
	return all, nil
}

// id is what a dependency resolves to: a folder of the workspace, a version of
// that name, or for an alias the whole id of another package.
func (l pnpmLock) id(from, name, version string) string {
	if folder, ok := strings.CutPrefix(version, "link:"); ok {
		return folderID(path.Join(from, folder))
	}
	if _, alias := l.Snapshots[version]; alias {
		return version
	}
	return name + "@" + version
}
