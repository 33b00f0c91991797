package workspace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/release"
)

// cutLockfile cuts the lockfile down to the closure, so that a change of what
// other packages depend on changes neither the key nor the image. A lockfile of
// which nothing can be cut out for certain stays whole.
func (b *closureBuilder) cutLockfile() {
	c := &b.done
	if !lockfile.Known(c.Lockfile) {
		return
	}
	keep := b.inClosure()
	maps.Copy(keep, c.lock.Declared(keep))
	if cut, ok := c.lock.Cut(keep); ok {
		c.CutLockfile = cut
	}
}

// Installed are the packages of the lockfile that the closure is installed from; nil
// if its format is unknown.
func (c Closure) Installed() (map[string]lockfile.Package, error) {
	if !lockfile.Known(c.Lockfile) {
		return nil, nil
	}
	lock := c.lock
	if c.CutLockfile != nil {
		var err error
		if lock, err = lockfile.Parse(c.Lockfile, c.CutLockfile); err != nil {
			return nil, err
		}
	}
	return lock.Packages()
}

// inClosure are the folders of the packages of the closure, and the root.
func (b *closureBuilder) inClosure() map[string]bool {
	folders := map[string]bool{"": true}
	for dir := range b.packages {
		folders[dir] = true
	}
	return folders
}

// addDeclared adds the manifests of packages that are not in the closure and that
// the package manager looks for all the same.
func (b *closureBuilder) addDeclared() {
	if !lockfile.Known(b.done.Lockfile) {
		return
	}
	for folder := range b.done.lock.Declared(b.inClosure()) {
		if p, ok := b.space.packages[folder]; ok {
			b.extra[p.ManifestPath()] = true
		}
	}
}

// staleLockfile compares what the packages of the closure declare with what the
// lockfile was made from. An install that does not change the lockfile would
// fail on any difference, later and with less to say.
func staleLockfile(c Closure, w workspace) []release.Finding {
	if !lockfile.Known(c.Lockfile) {
		return nil
	}
	locked := c.lock.Ranges()
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
				Code: release.CodeLockfileStale, Severity: release.Refuses, Object: p.ManifestPath(), Fixed: true,
				Message: fmt.Sprintf("%s was not made from it: %s", c.Lockfile, msg), Hint: "run the package manager's install and commit the lockfile",
			})
		}
	}
	return out
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
