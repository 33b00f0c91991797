package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/release"
)

// staleLockfile compares what the packages of the closure declare with what the
// lockfile was made from. An install that does not change the lockfile would
// fail on any difference, later and with less to say.
func staleLockfile(ctx context.Context, s Source, c Closure, w workspace) ([]release.Finding, error) {
	if c.Lockfile != "pnpm-lock.yaml" && c.Lockfile != "bun.lock" {
		return nil, nil
	}
	data, err := s.ReadFile(ctx, c.Lockfile)
	if err != nil {
		return nil, err
	}
	locked, err := lockedSpecs(c.Lockfile, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Lockfile, err)
	}
	overridden := map[string]bool{}
	for _, all := range []map[string]string{w.root.manifest.Pnpm.Overrides, w.root.manifest.Resolutions, w.pnpm.Overrides} {
		for key := range all {
			overridden[overrideName(key)] = true
		}
	}
	packages := slices.Clone(c.Packages)
	if w.root.Dir == "" && len(w.root.manifest.allDependencies()) > 0 && (len(packages) == 0 || packages[0].Dir != "") {
		packages = append([]Package{w.root}, packages...)
	}
	var out []release.Finding
	for _, p := range packages {
		if msg := drift(p.manifest, locked[p.Dir], overridden); msg != "" {
			out = append(out, release.Finding{
				Code: release.CodeLockfileStale, Severity: release.Refuses, Object: p.manifestPath(), Fixed: true,
				Message: fmt.Sprintf("%s was not made from it: %s", c.Lockfile, msg), Hint: "run the package manager's install and commit the lockfile",
			})
		}
	}
	return out, nil
}

// allDependencies are those that a lockfile lists for a package. A peer may be
// listed and need not be.
func (m manifest) allDependencies() map[string]string {
	all := map[string]string{}
	maps.Copy(all, m.DevDependencies)
	maps.Copy(all, m.OptionalDependencies)
	maps.Copy(all, m.Dependencies)
	return all
}

// drift is the first difference between a manifest and its part of the
// lockfile, "" if there is none.
func drift(m manifest, locked map[string]string, overridden map[string]bool) string {
	declared := m.allDependencies()
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		spec, ok := locked[name]
		switch {
		case overridden[name]:
		case !ok:
			return fmt.Sprintf("%s (%s) is not in it", name, declared[name])
		case spec != declared[name]:
			return fmt.Sprintf("%s is %s in it, not %s", name, spec, declared[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(locked)) {
		_, dep := declared[name]
		_, peer := m.PeerDependencies[name]
		if !dep && !peer && !overridden[name] {
			return fmt.Sprintf("%s (%s) is in it, but not declared any more", name, locked[name])
		}
	}
	return ""
}

// overrideName is the package that an override such as "parent>name@1", or a
// resolution such as "**/name", is for.
func overrideName(key string) string {
	key = key[strings.LastIndex(key, ">")+1:]
	if parts := strings.Split(key, "/"); len(parts) > 1 {
		key = parts[len(parts)-1]
		if scope := parts[len(parts)-2]; strings.HasPrefix(scope, "@") {
			key = scope + "/" + key
		}
	}
	if at := strings.LastIndex(key, "@"); at > 0 {
		key = key[:at]
	}
	return key
}

// lockedSpecs are the ranges that the lockfile was made from, by folder and name.
func lockedSpecs(file string, data []byte) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	if file == "bun.lock" {
		lock, err := parseBunLock(data)
		for dir, w := range lock.Workspaces {
			out[dir] = map[string]string{}
			for _, deps := range w.all() {
				maps.Copy(out[dir], deps)
			}
		}
		return out, err
	}
	var lock pnpmLock
	err := yaml.Unmarshal(data, &lock)
	for dir, imp := range lock.Importers {
		specs := map[string]string{}
		for _, deps := range imp.all() {
			for name, dep := range deps {
				specs[name] = dep.Specifier
			}
		}
		out[importerDir(dir)] = specs
	}
	return out, err
}
