package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// nodePackage is a package.json in node_modules.
type nodePackage struct {
	At      string            `json:"-"` // its path
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Scripts map[string]string `json:"scripts"`
	lockfile.Limits
}

// id is how the packages of a tree and those of a lockfile find each other.
func (p nodePackage) id() string { return p.Name + "@" + p.Version }

// root reports whether it is that of a package, and not of what a package holds.
func (p nodePackage) root() bool { return packageRoot().MatchString(p.At) }

var packageRoot = pattern.Lazy(`(^|/)node_modules/(@[^/]+/)?[^/@.][^/]*/package\.json$`)

// installedIn are the packages in the node_modules of a content. A broken package.json,
// as packages carry them for their tests, is left out.
func installedIn(ctx context.Context, c content) ([]nodePackage, error) {
	var out []nodePackage
	manifests := c.only(func(e entry) bool {
		return e.Kind == kindFile && path.Base(e.Path) == "package.json" && workspace.InNodeModules(e.Path)
	})
	err := manifests.each(ctx, func(e entry, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		p := nodePackage{At: e.Path}
		if json.Unmarshal(data, &p) == nil {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// wanted is a platform, and its name for messages.
type wanted struct {
	lockfile.Platform
	name string
}

func (w wanted) String() string {
	if w.Libc != "" {
		return w.name + " (" + w.Libc + ")"
	}
	return w.name
}

// verifyInstalled refuses packages that are for another platform than the image's: their
// native parts cannot run there. It also refuses a content that lacks what the lockfile
// has for a platform: a package manager leaves out an optional package without an error.
func verifyInstalled(ctx context.Context, in Inputs, c content, list []platform, opts Options) error {
	found, err := installedIn(ctx, c)
	if err != nil {
		return err
	}
	locked, err := in.Closure.Installed()
	if err != nil {
		return err
	}
	known := limitsOf(locked)
	var findings []release.Finding
	for _, p := range list {
		target, err := p.packages(ctx, known, opts)
		if err != nil {
			return err
		}
		w := wanted{target, p.osArch()}
		findings = append(findings, foreignPackages(found, locked, w, in)...)
		findings = append(findings, missingPackages(found, locked, w, in)...)
	}
	return release.Refuse(findings, nil)
}

// foreignPackages are those of found that are not for the platform, as they say
// themselves or as the lockfile does.
func foreignPackages(found []nodePackage, locked map[string]lockfile.Package, w wanted, in Inputs) []release.Finding {
	limited := map[string]lockfile.Limits{}
	for _, p := range locked {
		limited[p.Name+"@"+p.Version] = p.Limits
	}
	var out []release.Finding
	for _, p := range found {
		itself := w.Platform
		itself.Libc = "" // bun installs the packages for every C library
		if p.Limits.Allow(itself) && limited[p.id()].Allow(w.Platform) {
			continue
		}
		out = append(out, release.Finding{
			Code: release.CodeForeignPackage, Severity: release.Refuses, Object: p.At,
			Message: fmt.Sprintf("%s cannot run on %s: it was installed for another platform", p.Name, w), Hint: in.installHint(),
		})
	}
	return out
}

// installHint is what to do so that packages are installed for the image's platforms.
func (in Inputs) installHint() string {
	if in.manager() != "" {
		return "see what the commands of images." + in.Name + ".run do after the install, and whether .npmrc or pnpm.supportedArchitectures names platforms"
	}
	return "make the install a command of its own in images." + in.Name + ".run, such as [pnpm, install, --frozen-lockfile]: pnpm, npm and bun are then told the platform"
}

// missingPackages are the optional packages for the platform that an installed package
// has in the lockfile and that are not there.
func missingPackages(found []nodePackage, locked map[string]lockfile.Package, w wanted, in Inputs) []release.Finding {
	if in.omitsOptional() {
		return nil
	}
	there := map[string]bool{}
	for _, p := range found {
		there[p.id()] = true
	}
	missing := map[string]string{} // package → who needs it
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		p := locked[id]
		for _, next := range slices.Concat(p.Needs, p.MayNeed) {
			dep, known := locked[next]
			name := dep.Name + "@" + dep.Version
			switch {
			case !known || !dep.Limits.Allow(w.Platform):
			case dep.Folder != "" || there[name]:
				visit(next)
			case !dep.Limits.Any() && slices.Contains(p.MayNeed, next):
				missing[name] = p.Name
			}
		}
	}
	for _, p := range in.Closure.Packages {
		visit(lockfile.FolderID(path.Join(".", p.Dir)))
	}
	var out []release.Finding
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		out = append(out, release.Finding{
			Code: release.CodePlatformPackageMissing, Severity: release.Refuses, Object: name,
			Message: fmt.Sprintf("is what %s of %s has for %s, and it is not installed", missing[name], in.Closure.Lockfile, w), Hint: in.installHint(),
		})
	}
	return out
}

// omitsOptional reports whether an install is told to leave optional packages out.
func (in Inputs) omitsOptional() bool {
	for _, args := range in.Image.Run {
		for i, arg := range args {
			if arg == "--no-optional" || arg == "--omit=optional" || arg == "--omit" && i+1 < len(args) && strings.Contains(args[i+1], "optional") {
				return true
			}
		}
	}
	return false
}
