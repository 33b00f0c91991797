package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

type initOptions struct {
	*globals
	force bool
}

func newInit(g *globals) *cobra.Command {
	o := &initOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a shipit.yaml from what the repository holds",
		Long: `Reads the repository's packages and Kubernetes manifests and writes a shipit.yaml for
them. What it cannot know (the digest of the base image, above all) is left for you to
fill in, and marked; shipit check says what is still open.`,
		Example: `  shipit init
  shipit init -C ~/src/joelclaw`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "overwrite an existing shipit.yaml")
	return cmd
}

func (o *initOptions) run(ctx context.Context) error {
	path := filepath.Join(o.dir, config.File)
	if _, err := os.Stat(path); err == nil && !o.force {
		return &codeError{exitRefused, path + " exists already", "shipit init --force overwrites it"}
	}
	repo, err := survey(ctx, o.dir)
	if err != nil {
		return err
	}
	text := repo.yaml()
	if _, err := config.Parse(path, []byte(text), ""); err != nil {
		return fmt.Errorf("the configuration that was made does not parse: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	doc := struct {
		File  string   `json:"file"`
		App   string   `json:"app"`
		Roles []string `json:"roles"`
	}{path, repo.app(), repo.roles()}
	fmt.Fprintf(o.term.err, "✓ wrote %s: %d package(s), %d manifest(s)\n  → fill in the digest of the base image, commit it, then shipit check\n", path, len(repo.packages), len(repo.manifests))
	return o.result(doc, func(w io.Writer) { fmt.Fprintln(w, path) })
}

// repository is what init found.
type repository struct {
	remote    string // owner/name of origin on GitHub, or empty
	packages  []surveyed
	manifests map[string]string // image repository → manifest that names it
}

// surveyed is one workspace package that can be started.
type surveyed struct {
	dir, name string
	start     []string
}

var (
	remoteRule = regexp.MustCompile(`github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$`)
	imageRule  = regexp.MustCompile(`(?m)^\s*(?:-\s*)?image:\s*["']?([\w.\-/]+(?::\d+/[\w.\-/]+)?)[:@"'\s]`)
)

// survey looks for startable packages and for manifests that name an image.
func survey(ctx context.Context, dir string) (repository, error) {
	repo := repository{manifests: map[string]string{}}
	if out, err := exec.CommandContext(ctx, "git", "-C", dir, "remote", "get-url", "origin").Output(); err == nil {
		if m := remoteRule.FindStringSubmatch(strings.TrimSpace(string(out))); m != nil {
			repo.remote = m[1]
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != dir && (strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "dist", "vendor"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		rel, rerr := filepath.Rel(dir, path)
		if rerr != nil {
			return rerr
		}
		return repo.note(path, filepath.ToSlash(rel))
	})
	if err != nil {
		return repo, fmt.Errorf("read %s: %w", dir, err)
	}
	if len(repo.packages) == 0 {
		return repo, before(errors.New("no package with a start script in " + dir))
	}
	return repo, nil
}

func (r *repository) note(path, rel string) error {
	switch {
	case filepath.Base(path) == "package.json" && rel != "package.json":
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var pkg struct {
			Name    string            `json:"name"`
			Scripts map[string]string `json:"scripts"`
		}
		if json.Unmarshal(data, &pkg) != nil || pkg.Scripts["start"] == "" {
			return nil
		}
		r.packages = append(r.packages, surveyed{strings.TrimSuffix(rel, "/package.json"), pkg.Name, strings.Fields(pkg.Scripts["start"])})
	case strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml"):
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(data), "apiVersion:") {
			return nil
		}
		for _, m := range imageRule.FindAllStringSubmatch(string(data), -1) {
			r.manifests[m[1]] = rel
		}
	}
	return nil
}

func (r *repository) app() string {
	return slug(filepath.Base(r.packages[0].dir))
}

func (r *repository) roles() []string {
	var names []string
	for _, p := range r.packages {
		names = append(names, slug(filepath.Base(p.dir)))
	}
	return names
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slug(s string) string {
	return strings.Trim(notSlug.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

const zeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// yaml writes the configuration: an image and a role for each package, in the
// cluster if a manifest names its image, otherwise on a host.
func (r *repository) yaml() string {
	var images, roles strings.Builder
	owner := "OWNER"
	if r.remote != "" {
		owner = strings.ToLower(strings.SplitN(r.remote, "/", 2)[0])
	}
	for i, p := range r.packages {
		name := r.roles()[i]
		repository, manifest := "ghcr.io/"+owner+"/"+name, ""
		for image, file := range r.manifests {
			if strings.Contains(filepath.Base(image), name) {
				repository, manifest = image, file
			}
		}
		base := "docker.io/oven/bun@" + zeroDigest + "  # TODO: the digest of the version you run"
		if manifest == "" {
			base = "scratch  # a host role: the runtime is the host's"
		}
		fmt.Fprintf(&images, "  %s:\n    repository: %s\n    package: %s\n    base: %s\n    entrypoint: [%s]\n", name, strings.Replace(repository, "OWNER", "owner", 1), p.dir, base, strings.Join(noInstall(p.start), ", "))
		if manifest != "" {
			fmt.Fprintf(&roles, "  %s:\n    image: %s\n    kubernetes: {namespace: %s, manifests: [%s]}\n", name, name, "default", manifest)
		} else {
			fmt.Fprintf(&roles, "  %s:\n    image: %s\n    host: {manager: systemd, service: %s}\n", name, name, name)
		}
	}
	source := ""
	if r.remote != "" {
		source = "source: https://github.com/" + r.remote + "\n"
	}
	return "app: " + r.app() + "\n" + source + "images:\n" + images.String() + "roles:\n" + roles.String()
}

// noInstall makes bun refuse to install what is missing at run time.
func noInstall(start []string) []string {
	if len(start) > 0 && start[0] == "bun" && !slices.Contains(start, "--no-install") {
		return slices.Insert(slices.Clone(start), 1, "--no-install")
	}
	return start
}

// zeroBase finds images whose base is still the placeholder that init wrote.
func zeroBase(cfg config.Config) []release.Finding {
	var findings []release.Finding
	for name, img := range cfg.Images {
		if strings.HasSuffix(img.Base, zeroDigest) {
			findings = append(findings, release.Finding{Code: "BasePlaceholder", Severity: release.Refuses, Object: config.File + " images." + name + ".base", Message: "the digest of the base image is still to be filled in", Fixed: true})
		}
	}
	return findings
}
