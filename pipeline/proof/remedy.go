package proof

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/pipeline/workspace"
)

// remedy is what to do about an import that is not in the image.
func (s Subject) remedy(file, name string) string {
	if strings.HasPrefix(name, ".") {
		return s.remedyOfFile(path.Join(path.Dir(file), name))
	}
	dep := packageOf(name)
	owner, owned := s.Closure.Owner(file)
	manifest := owner.ManifestPath()
	folder, member := s.Closure.Members[dep]
	switch {
	case owned && member && !owner.Declares(dep):
		return fmt.Sprintf("declare %q: \"workspace:*\" in dependencies of %s: it is %s of the workspace", dep, manifest, folder)
	case len(s.Image.Run) == 0 && (!owned || owner.DependsOn(dep)):
		return installed
	case len(s.Image.Run) == 0:
		return remedyOfManifest(owner, dep) + ", and " + installed
	case !owned:
		return fmt.Sprintf("declare %s in dependencies, or add its package to the workspace", dep)
	case owner.DependsOn(dep):
		return "look at what the commands of run install: --prod and --filter leave packages out"
	default:
		return remedyOfManifest(owner, dep) + whyNot(owner.DeclaredIn(dep))
	}
}

// whyNot says why an image lacks what is only in these fields of a manifest.
func whyNot(fields []string) string {
	switch {
	case slices.Contains(fields, "optionalDependencies"):
		return ": an install succeeds without what is optional"
	case slices.Contains(fields, "peerDependencies"):
		return ": an install of production need not bring a peer"
	case len(fields) > 0:
		return ": an image has nothing that is for development only"
	default:
		return ""
	}
}

// installed says what installs what is not of the workspace.
const installed = "install it by images.*.run: without it only the workspace's own packages are linked"

// remedyOfManifest is how a package becomes a dependency of another.
func remedyOfManifest(owner workspace.Package, dep string) string {
	manifest, fields := owner.ManifestPath(), owner.DeclaredIn(dep)
	switch {
	case len(fields) == 0:
		return fmt.Sprintf("declare %s in dependencies of %s", dep, manifest)
	case fields[0] == "devDependencies" && len(fields) == 1:
		return fmt.Sprintf("move %s from devDependencies to dependencies of %s", dep, manifest)
	default:
		return fmt.Sprintf("add %s to dependencies of %s", dep, manifest)
	}
}

// remedyOfFile tells a file that is in the commit from one that is not.
func (s Subject) remedyOfFile(at string) string {
	stem := strings.TrimSuffix(at, path.Ext(at))
	for _, base := range []string{at, stem} {
		for _, ext := range append([]string{""}, scriptExtensions()...) {
			for _, file := range []string{base + ext, path.Join(base, "index"+ext)} {
				if path.Ext(file) != "" && s.Committed != nil && s.Committed(file) {
					return file + " is in the commit, and not in the image: name it under include of the image in shipit.yaml"
				}
			}
		}
	}
	return "commit the file"
}
