// Package scaffold turns a repository into the shipit.yaml that it asks for, with a
// mark where only its owner knows the answer.
package scaffold

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/joelhooks/shipit/config"
)

// NothingError says that a repository holds nothing that could be deployed.
type NothingError struct{ Dir string }

func (e *NothingError) Error() string { return "no package with a start script in " + e.Dir }

// Repository is what was found in a repository.
type Repository struct {
	remote    string // owner/name of origin on GitHub, or empty
	packages  []foundPackage
	manifests map[string]string // image repository → manifest that names it
}

// foundPackage is one workspace package that can be started.
type foundPackage struct {
	name  string // of its image and its role
	dir   string
	start []string
}

var (
	remoteRule = regexp.MustCompile(`github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$`)
	// imageRule finds only what can be the repository of an image: web:latest names no registry to push to.
	imageRule = regexp.MustCompile(`(?m)^\s*(?:-\s*)?image:\s*["']?([a-zA-Z0-9.-]+(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+)(?:[:@"'\s]|$)`)
)

// Read finds packages with a start script and manifests that name an image.
func Read(ctx context.Context, dir string) (Repository, error) {
	repo := Repository{manifests: map[string]string{}}
	if out, err := exec.CommandContext(ctx, "git", "-C", dir, "remote", "get-url", "origin").Output(); err == nil {
		if m := remoteRule.FindStringSubmatch(strings.TrimSpace(string(out))); m != nil {
			repo.remote = m[1]
		}
	}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir() && at != "." && (strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "dist", "vendor"}, name)):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return repo.visit(tree, at)
	})
	if err != nil {
		return repo, fmt.Errorf("read %s: %w", dir, err)
	}
	if len(repo.packages) == 0 {
		return repo, &NothingError{Dir: dir}
	}
	return repo, nil
}

func (r *Repository) visit(tree fs.FS, at string) error {
	dir, base := path.Split(at)
	switch {
	case base == "package.json" && dir != "":
		data, err := fs.ReadFile(tree, at)
		if err != nil {
			return err
		}
		var pkg struct {
			Scripts map[string]string `json:"scripts"`
		}
		if json.Unmarshal(data, &pkg) != nil || pkg.Scripts["start"] == "" {
			return nil
		}
		dir = path.Clean(dir)
		r.packages = append(r.packages, foundPackage{r.uniqueName(dir), dir, strings.Fields(pkg.Scripts["start"])})
	case strings.HasSuffix(base, ".yaml") || strings.HasSuffix(base, ".yml"):
		data, err := fs.ReadFile(tree, at)
		if err != nil {
			return err
		}
		if !strings.Contains(string(data), "apiVersion:") {
			return nil
		}
		for _, m := range imageRule.FindAllStringSubmatch(string(data), -1) {
			r.manifests[m[1]] = at
		}
	}
	return nil
}

// uniqueName is a name for the package in dir that no other package has.
func (r Repository) uniqueName(dir string) string {
	name := slug(path.Base(dir))
	if r.taken(name) {
		name = slug(dir)
	}
	for n, stem := 2, name; r.taken(name); n++ {
		name = fmt.Sprintf("%s-%d", stem, n)
	}
	return name
}

func (r Repository) taken(name string) bool { return slices.Contains(r.Roles(), name) }

// imageFor is the repository of a package's image and the manifest that names it:
// the image with the package's name, otherwise the first whose name contains it and
// is not the name of another package.
func (r Repository) imageFor(name string) (image, manifest string) {
	for _, at := range slices.Sorted(maps.Keys(r.manifests)) {
		base := path.Base(at)
		if base == name {
			return at, r.manifests[at]
		}
		if image == "" && strings.Contains(base, name) && !r.taken(base) {
			image = at
		}
	}
	return image, r.manifests[image]
}

// App is the name that the repository is given.
func (r Repository) App() string { return r.packages[0].name }

// Roles are the names of its roles.
func (r Repository) Roles() []string {
	var names []string
	for _, p := range r.packages {
		names = append(names, p.name)
	}
	return names
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes a valid role name of s, short enough to append a number.
func slug(s string) string {
	s = strings.Trim(notSlug.ReplaceAllString(strings.ToLower(s), "-"), "-")
	return cmp.Or(strings.TrimRight(s[:min(len(s), 36)], "-"), "app")
}

// Summary is what was found, in words.
func (r Repository) Summary() string {
	return fmt.Sprintf("%d package(s), %d manifest(s)", len(r.packages), len(r.manifests))
}

// YAML is the configuration: an image and a role for each package, in the cluster if
// a manifest names its image, otherwise on a host.
func (r Repository) YAML() string {
	var images, roles strings.Builder
	owner := "owner"
	if r.remote != "" {
		owner = strings.ToLower(strings.SplitN(r.remote, "/", 2)[0])
	}
	for _, p := range r.packages {
		repository, manifest := r.imageFor(p.name)
		base := "docker.io/oven/bun@" + config.PlaceholderDigest + "  # TODO: the digest of the version you run"
		if manifest == "" {
			repository = "ghcr.io/" + owner + "/" + p.name
			base = "scratch  # a host role: the runtime is the host's"
		}
		fmt.Fprintf(&images, "  %s:\n    repository: %s\n    package: %s\n    base: %s\n    entrypoint: [%s]\n", scalar(p.name), repository, scalar(p.dir), base, scalar(noInstall(p.start)...))
		fmt.Fprintf(&roles, "  %s:\n    image: %s\n", scalar(p.name), scalar(p.name))
		if manifest != "" {
			fmt.Fprintf(&roles, "    kubernetes: {namespace: default, manifests: [%s]}\n", scalar(manifest))
		} else {
			fmt.Fprintf(&roles, "    host: {manager: systemd, service: %s}\n", scalar(p.name))
		}
	}
	source := ""
	if r.remote != "" {
		source = "source: https://github.com/" + r.remote + "\n"
	}
	return "app: " + scalar(r.App()) + "\n" + source + "images:\n" + images.String() + "roles:\n" + roles.String()
}

var plainRule = regexp.MustCompile(`^(--?)?[\w./][\w./@=+-]*$`)

// scalar writes texts as items of a YAML list, quoted where necessary.
func scalar(texts ...string) string {
	var items []string
	for _, s := range texts {
		if !plainRule.MatchString(s) || strings.EqualFold(s, "null") {
			s = strconv.Quote(s)
		}
		items = append(items, s)
	}
	return strings.Join(items, ", ")
}

// noInstall adds the flag that keeps bun from installing packages at run time.
func noInstall(start []string) []string {
	if len(start) > 0 && start[0] == "bun" && !slices.Contains(start, "--no-install") {
		return slices.Insert(slices.Clone(start), 1, "--no-install")
	}
	return start
}
