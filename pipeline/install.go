package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/lockfile"
	"github.com/joelhooks/shipit/pipeline/workspace"
)

// install is a build whose first command installs packages, in two steps: the files
// that it reads go in, it runs, and then the source goes in. So a change of the source
// costs no install. What comes out is the same as if all had been there from the start.
type install struct {
	args   []string // of the command
	key    string   // of what it makes
	reads  content  // manifests, lockfile, patches, programs of the workspace
	source content  // the rest of the closure
}

// What is said of installs.
const (
	withSource = "the install runs with the source, so a change of the source repeats it: %s"
	asBefore   = "%s: as before, nothing of what it reads has changed"
)

// addSource adds the source to the folder tree. why is a file that the install made and
// the source has too: then nothing is added.
func (i install) addSource(ctx context.Context, tree string) (why string, err error) {
	for _, e := range i.source.Entries {
		if _, err := os.Lstat(filepath.Join(tree, filepath.FromSlash(e.Path))); err == nil {
			return e.Path + " is committed, and the install makes it", nil
		}
	}
	return "", i.source.export(ctx, tree)
}

// foldersWithout are the folders of the source that the tree lacks before it is added.
func (i install) foldersWithout(tree string) []string {
	return slices.DeleteFunc(i.source.folders(), func(d string) bool {
		_, err := os.Lstat(filepath.Join(tree, filepath.FromSlash(d)))
		return err == nil
	})
}

// removeSource takes away what addSource has added: the tree is as the install left it. It
// is an error if anything else has come into the folders.
func (i install) removeSource(tree string, folders []string) error {
	for _, e := range i.source.Entries {
		if err := os.Remove(filepath.Join(tree, filepath.FromSlash(e.Path))); err != nil {
			return err
		}
	}
	for _, d := range slices.Backward(folders) {
		if err := os.Remove(filepath.Join(tree, filepath.FromSlash(d))); err != nil {
			return err
		}
	}
	return nil
}

// divide returns the install, or why the source must be there before it runs; both are
// the zero value if the first command installs nothing.
func divide(ctx context.Context, in Inputs, c content) (found *install, why string, err error) {
	if len(in.Image.Run) == 0 || !startsWithInstall(in.Image) {
		return nil, "", nil
	}
	m := manifests{packages: map[string]bool{}, extra: map[string]bool{}}
	if why, err = m.read(ctx, c); err != nil || why != "" {
		return nil, why, err
	}
	if why, err = readsProject(in); err != nil || why != "" {
		return nil, why, err
	}
	args := in.Image.Run[0]
	read := func(e entry) bool {
		return m.extra[e.Path] || readByInstall(e.Path) || slices.Contains(args, e.Path) || slices.Contains(args, "./"+e.Path)
	}
	return &install{
		args: args, key: installKey(in, args, c.only(read)), reads: c.only(read), source: c.only(func(e entry) bool { return !read(e) }),
	}, "", nil
}

// startsWithInstall reports whether the image's first command is an install by pnpm or bun.
func startsWithInstall(img config.Image) bool {
	by := installer(img.Run[0])
	return by == "pnpm" || by == "bun"
}

// readByInstall reports whether an install may read a file, by its name.
func readByInstall(p string) bool {
	switch path.Base(p) {
	case "package.json", "pnpm-workspace.yaml", ".npmrc", "bunfig.toml", lockfile.PNPM, lockfile.Bun, "bun.lockb":
		return true
	}
	return strings.HasSuffix(p, ".patch") || strings.HasSuffix(p, ".diff") || slices.Contains(strings.Split(p, "/"), "patches")
}

// manifests are the package.json files of a closure.
type manifests struct {
	packages map[string]bool // folders that have one
	extra    map[string]bool // files that they name: programs and patches
}

// installManifest is what an install reads of a package.json.
type installManifest struct {
	Scripts     map[string]string `json:"scripts"`
	Bin         json.RawMessage   `json:"bin"`
	Directories struct {
		Bin string `json:"bin"`
	} `json:"directories"`
	Dependencies         map[string]string `json:"dependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	DependenciesMeta     map[string]struct {
		Injected bool `json:"injected"`
	} `json:"dependenciesMeta"`
	PublishConfig struct {
		Directory string `json:"directory"`
	} `json:"publishConfig"`
	PatchedDependencies map[string]string `json:"patchedDependencies"`
	Pnpm                struct {
		PatchedDependencies map[string]string `json:"patchedDependencies"`
	} `json:"pnpm"`
}

// scripts of a package that an install of its workspace runs.
func scripts() []string {
	return []string{"preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish", "pnpm:devPreinstall"}
}

// read reads the manifests of a closure. why is a file for which the source must be
// there, with the reason.
func (m manifests) read(ctx context.Context, c content) (why string, err error) {
	for _, e := range c.Entries {
		switch base := path.Base(e.Path); {
		case workspace.InNodeModules(e.Path):
			return e.Path + " is committed", nil
		case base == ".pnpmfile.cjs" || base == "pnpmfile.js":
			return e.Path + " is a program, which may read the source", nil
		case base == "binding.gyp":
			return e.Path + " is compiled by the install", nil
		case base == "package.json":
			m.packages[path.Dir(e.Path)] = true
		}
	}
	err = c.only(func(e entry) bool { return path.Base(e.Path) == "package.json" && e.Kind == kindFile }).each(ctx, func(e entry, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil || why != "" {
			return err
		}
		var one installManifest
		if json.Unmarshal(data, &one) != nil {
			why = e.Path + " is not understood"
			return nil
		}
		why = one.needsSource(e.Path)
		m.name(path.Dir(e.Path), one)
		return nil
	})
	return why, err
}

// needsSource is why an install of the package at reads its source; "" if it does not.
func (one installManifest) needsSource(at string) string {
	for _, name := range scripts() {
		if one.Scripts[name] != "" {
			return fmt.Sprintf("%s has a %s script", at, name)
		}
	}
	if one.Directories.Bin != "" {
		return at + " has a folder of programs"
	}
	if one.PublishConfig.Directory != "" {
		return at + " has publishConfig.directory"
	}
	for _, name := range slices.Sorted(maps.Keys(one.DependenciesMeta)) {
		if one.DependenciesMeta[name].Injected {
			return fmt.Sprintf("%s injects %s", at, name)
		}
	}
	for _, all := range []map[string]string{one.Dependencies, one.OptionalDependencies, one.DevDependencies} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if strings.HasPrefix(all[name], "file:") {
				return fmt.Sprintf("%s has %s as %s", at, name, all[name])
			}
		}
	}
	return ""
}

// name adds the files that a manifest in the folder dir names: the shim of a program
// depends on its first line.
func (m manifests) name(dir string, one installManifest) {
	var bins map[string]string
	var single string
	if json.Unmarshal(one.Bin, &single) == nil && single != "" {
		m.extra[path.Join(dir, single)] = true
	}
	if json.Unmarshal(one.Bin, &bins) == nil {
		for _, p := range bins {
			m.extra[path.Join(dir, p)] = true
		}
	}
	for _, patches := range []map[string]string{one.PatchedDependencies, one.Pnpm.PatchedDependencies} {
		for _, p := range patches {
			m.extra[path.Clean(p)] = true
		}
	}
}

// installKey is the hash of all that an install depends on.
func installKey(in Inputs, args []string, reads content) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %q %q\n", format, in.Image.Toolchain, args)
	for _, e := range reads.Entries {
		fmt.Fprintf(sum, "%q %s %v %q %s %x\n", e.Path, e.Kind, e.Executable, e.Link, e.blob.ID, sha256.Sum256(e.data))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// readers are packages whose install scripts read the project that they are installed
// into.
func readers() []string {
	return []string{"@prisma/client", "prisma", "husky", "lefthook", "simple-git-hooks", "patch-package", "postinstall-postinstall", "msw", "puppeteer", "cypress", "nx", "@nestjs/core", "nuxt", "vue-demi", "@sveltejs/kit"}
}

// readsProject names a package of the lockfile whose install reads the source.
func readsProject(in Inputs) (string, error) {
	all, err := in.Closure.Installed()
	if err != nil || all == nil {
		return in.Closure.Lockfile + " is not understood", err
	}
	for _, name := range readers() {
		for _, p := range all {
			if p.Name == name {
				return fmt.Sprintf("%s has %s, whose install reads the project", in.Closure.Lockfile, name), nil
			}
		}
	}
	return "", nil
}
