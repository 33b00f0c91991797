package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/release"
)

// scriptsError refuses an install whose scripts would have to run on another platform
// than that of the machine.
type scriptsError struct {
	*release.Refusal
	packages []string
}

func (e *scriptsError) Unwrap() error { return e.Refusal }

// neededScripts refuses what an install made if scripts of packages, which were not
// run, may make something for the platform. c is the content as the install left it.
func (in Inputs) neededScripts(ctx context.Context, c content) error {
	if !in.aim.foreign() || in.aim.scriptless {
		return nil
	}
	found, err := installedIn(ctx, c)
	if err != nil {
		return err
	}
	allowed, err := allowedScripts(ctx, c)
	if err != nil {
		return err
	}
	compiled := map[string]bool{} // folders of what an install compiles
	for _, e := range c.Entries {
		if path.Base(e.Path) == "binding.gyp" {
			compiled[path.Dir(e.Path)] = true
		}
	}
	var names []string
	for _, p := range found {
		if !p.root() || !allowed(p.Name) {
			continue
		}
		if compiled[path.Dir(p.At)] || p.Scripts["preinstall"]+p.Scripts["install"]+p.Scripts["postinstall"] != "" {
			names = append(names, p.id())
		}
	}
	own, err := ownScripts(ctx, c)
	if err != nil {
		return err
	}
	if names = append(own, names...); len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	e := &scriptsError{&release.Refusal{}, slices.Compact(names)}
	for _, name := range e.packages {
		e.Findings = append(e.Findings, release.Finding{
			Code: release.CodeForeignScript, Severity: release.Refuses, Object: name,
			Message: fmt.Sprintf("has an install script, which would have to run on %s and was not: this is %s", in.aim.name, in.aim.on),
			Hint:    in.scriptsHint(),
		})
	}
	return e
}

// scriptsHint is what to do about scripts that did not run.
func (in Inputs) scriptsHint() string {
	hint := fmt.Sprintf("if all of them only check or speed up what is installed (esbuild and sharp do), add --ignore-scripts to the install in images.%s.run; "+
		"otherwise take %s out of images.%s.platforms", in.Name, in.aim.name, in.Name)
	if strings.HasPrefix(in.aim.name, "linux/") {
		hint += ", or build with a Dagger engine that can run it"
	}
	return hint
}

// ownScripts are the packages of the repository with a script that an install runs.
func ownScripts(ctx context.Context, c content) ([]string, error) {
	var out []string
	own := c.only(func(e entry) bool {
		return e.Kind == kindFile && path.Base(e.Path) == "package.json" && !strings.Contains("/"+e.Path, "/node_modules/")
	})
	err := own.each(ctx, func(e entry, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		var m installManifest
		if json.Unmarshal(data, &m) != nil {
			return nil
		}
		for _, name := range scripts() {
			if m.Scripts[name] != "" {
				out = append(out, e.Path+" ("+name+")")
			}
		}
		return nil
	})
	return out, err
}

// settingsOfScripts is what says which packages may run scripts: for pnpm in
// package.json or pnpm-workspace.yaml, for bun in package.json.
type settingsOfScripts struct {
	Only    *[]string       `json:"onlyBuiltDependencies" yaml:"onlyBuiltDependencies"`
	Never   []string        `json:"neverBuiltDependencies" yaml:"neverBuiltDependencies"`
	Allow   map[string]bool `json:"allowBuilds" yaml:"allowBuilds"`
	All     bool            `json:"dangerouslyAllowAllBuilds" yaml:"dangerouslyAllowAllBuilds"`
	Trusted *[]string       `json:"trustedDependencies" yaml:"-"`
}

// allowedScripts is whether a package manager would run the scripts of a package, by
// name. Where it is not known, it would.
func allowedScripts(ctx context.Context, c content) (func(name string) bool, error) {
	var root struct {
		settingsOfScripts
		Pnpm settingsOfScripts `json:"pnpm"`
	}
	var workspace settingsOfScripts
	var left struct { // what pnpm keeps of its install
		PackageManager string `yaml:"packageManager"`
	}
	for at, read := range map[string]func([]byte) error{
		"package.json":               func(data []byte) error { return json.Unmarshal(data, &root) },
		"pnpm-workspace.yaml":        func(data []byte) error { return yaml.Unmarshal(data, &workspace) },
		"node_modules/.modules.yaml": func(data []byte) error { return yaml.Unmarshal(data, &left) },
	} {
		err := c.only(func(e entry) bool { return e.Path == at && e.Kind == kindFile }).each(ctx, func(_ entry, r io.Reader) error {
			data, err := io.ReadAll(r)
			if err == nil {
				_ = read(data) // a file that is not understood forbids nothing
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if left.PackageManager == "" {
		return func(name string) bool { return root.Trusted == nil || slices.Contains(*root.Trusted, name) }, nil
	}
	all := !strings.HasPrefix(left.PackageManager, "pnpm@1") // 10 and later run none without being told
	return func(name string) bool {
		listed := false
		for _, s := range []settingsOfScripts{root.Pnpm, workspace} {
			if slices.Contains(s.Never, name) {
				return false
			}
			listed = listed || s.Only != nil
			if s.All || s.Allow[name] || s.Only != nil && slices.Contains(*s.Only, name) {
				return true
			}
		}
		return all && !listed
	}, nil
}
