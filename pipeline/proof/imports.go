package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// imported is what was found behind the scripts.
type imported struct {
	files    []string          // of the tree, all that is reached
	findings []release.Finding // what cannot work
	rejected []release.Finding // syntax that the resolver does not know, and a runtime may
}

// imports resolves every import that the scripts lead to, as the runtime would
// in the built tree, without running any of it.
func (s Subject) imports() (imported, error) {
	g := imported{files: slices.Clone(s.Scripts)}
	var entries []string
	for _, script := range s.Scripts {
		at := filepath.Join(s.Tree, filepath.FromSlash(script))
		if _, err := os.Stat(at); err != nil {
			g.findings = append(g.findings, refusal(release.CodeEntrypointMissing, script, "is what a role starts with, and it is not in the image", "name it relative to images.*.package"))
		}
		entries = append(entries, at)
	}
	if len(g.findings) > 0 {
		return g, nil
	}
	result := s.resolve(entries)
	for _, m := range result.Errors {
		f, ok := s.finding(m)
		switch {
		case ok && f.Code == release.CodeSyntaxRejected:
			g.rejected = append(g.rejected, f)
			g.files = append(g.files, filepath.ToSlash(m.Location.File))
		case ok:
			g.findings = append(g.findings, f)
		}
	}
	g.findings = gathered(sorted(g.findings))
	if len(result.Errors) > 0 { // then there is no graph
		return g, nil
	}
	var graph metafile
	if err := json.Unmarshal([]byte(result.Metafile), &graph); err != nil {
		return g, fmt.Errorf("read the graph of imports: %w", err)
	}
	for file := range graph.Inputs {
		g.files = append(g.files, file)
	}
	g.findings = sorted(s.undeclared(graph))
	return g, nil
}

// resolve follows the imports. What may be missing is left out in a second try,
// because there is no graph while anything is wrong.
func (s Subject) resolve(entries []string) api.BuildResult {
	o := s.bundling(entries)
	result := api.Build(o)
	var optional []string
	for _, m := range result.Errors {
		if u := unresolved().FindStringSubmatch(m.Text); u != nil && s.mayMiss(m, u[1]) {
			optional = append(optional, u[1])
		}
	}
	if len(optional) == 0 {
		return result
	}
	o.External = append(o.External, optional...)
	return api.Build(o)
}

// bundling asks for a bundle that is thrown away.
func (s Subject) bundling(entries []string) api.BuildOptions {
	loaders := map[string]api.Loader{}
	for _, ext := range []string{
		".node", ".wasm", ".css", ".html", ".svg", ".png", ".jpg", ".gif", ".ico", ".woff", ".woff2", ".ttf",
		".txt", ".md", ".mdx", ".sql", ".toml", ".yaml", ".yml", ".db", ".sqlite", ".sh", ".graphql", ".gql",
	} {
		loaders[ext] = api.LoaderEmpty
	}
	o := api.BuildOptions{
		EntryPoints: entries, AbsWorkingDir: s.Tree, Outdir: filepath.Join(s.Tree, ".shipit"), Bundle: true, Write: false, Metafile: true,
		Platform: api.PlatformNode, Format: api.FormatESModule, Target: api.ESNext, Loader: loaders, LogLevel: api.LogLevelSilent, LogLimit: 0,
		ResolveExtensions: []string{".tsx", ".jsx", ".ts", ".mjs", ".js", ".cjs", ".json"},
	}
	if s.isBun() {
		o.Conditions = []string{"bun"}
		o.External = []string{"bun", "bun:*"}
	}
	return o
}

func (s Subject) isBun() bool {
	return len(s.Image.Entrypoint) == 0 || path.Base(s.Image.Entrypoint[0]) == "bun"
}

// bunProvides are packages that bun has within itself where none is installed.
func bunProvides() []string {
	return []string{"ws", "undici", "node-fetch", "isomorphic-fetch", "@vercel/fetch", "abort-controller", "detect-libc"}
}

var (
	unresolved = pattern.Lazy(`^Could not resolve "([^"]+)"`)
	noExport   = pattern.Lazy(`^No matching export in "[^"]+" for import "[^"]+"`)
	// eager are imports that are resolved before any line runs.
	eager = pattern.Lazy(`^\s*(import\s*["'{*\w]|export\s.*\sfrom\s|\}\s*from\s)`)
)

// finding turns what the bundler said into what it means for the image; false
// if it means nothing.
func (s Subject) finding(m api.Message) (release.Finding, bool) {
	file, line := "", 0
	if m.Location != nil {
		file, line = filepath.ToSlash(m.Location.File), m.Location.Line
	}
	foreign := workspace.InNodeModules(file)
	where := fmt.Sprintf("%s:%d", file, line)
	if u := unresolved().FindStringSubmatch(m.Text); u != nil {
		name := u[1]
		if s.mayMiss(m, name) {
			return release.Finding{}, false
		}
		return refusal(release.CodeImportUnresolved, where, fmt.Sprintf("imports %s, which is not in the image%s", name, s.why(file, name)), s.remedy(file, name)), true
	}
	if strings.HasPrefix(m.Text, "No loader is configured") || foreign {
		return release.Finding{}, false
	}
	if noExport().MatchString(m.Text) {
		return refusal(release.CodeExportMissing, where, m.Text, ""), true
	}
	if m.Location == nil {
		return refusal(release.CodeImportUnresolved, strings.Join(s.Scripts, ", "), m.Text, ""), true
	}
	return refusal(release.CodeSyntaxRejected, where, m.Text, ""), true
}

// mayMiss reports whether the image can do without an import: because bun has it
// within itself, or because it stands in a dependency and is loaded only when a
// line asks for it. Dependencies load many of their own only where these are there.
func (s Subject) mayMiss(m api.Message, name string) bool {
	if s.isBun() && slices.Contains(bunProvides(), packageOf(name)) {
		return true
	}
	return m.Location != nil && workspace.InNodeModules(filepath.ToSlash(m.Location.File)) && !eager().MatchString(m.Location.LineText)
}

// why adds to a missing import what the package that wants it says of it.
func (s Subject) why(file, name string) string {
	dep := packageOf(name)
	owner, ok := s.Closure.Owner(file)
	if strings.HasPrefix(name, ".") || !ok {
		return ""
	}
	switch fields := owner.DeclaredIn(dep); {
	case owner.DependsOn(dep):
		return fmt.Sprintf(": %s declares %s, but the install did not bring it", owner.ManifestPath(), dep)
	case len(fields) > 0:
		return fmt.Sprintf(": %s has %s among %s only", owner.ManifestPath(), dep, strings.Join(fields, " and "))
	default:
		return fmt.Sprintf(": %s does not declare %s", owner.ManifestPath(), dep)
	}
}

// packageOf is the package of an import path: "@a/b" of "@a/b/c".
func packageOf(name string) string {
	parts := strings.SplitN(name, "/", 3)
	if strings.HasPrefix(name, "@") && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// metafile is the bundler's graph of imports.
type metafile struct {
	Inputs map[string]struct {
		Imports []struct {
			Path     string `json:"path"`
			Original string `json:"original"`
			External bool   `json:"external"`
		} `json:"imports"`
	} `json:"inputs"`
}

// undeclared finds imports of the repository's own files that resolve although
// their package does not declare them: by how an install happened to lay things
// out, which the next one need not do.
func (s Subject) undeclared(g metafile) []release.Finding {
	var out []release.Finding
	for file, input := range g.Inputs {
		owner, ok := s.Closure.Owner(file)
		if workspace.InNodeModules(file) || !ok {
			continue
		}
		seen := map[string]bool{}
		for _, i := range input.Imports {
			dep := packageOf(i.Original)
			bare := i.Original != "" && !strings.HasPrefix(i.Original, ".") && !strings.HasPrefix(i.Original, "#") && !path.IsAbs(i.Original)
			// What did not come out of node_modules or another package is the
			// package's own, by an alias of its tsconfig.
			to, owned := s.Closure.Owner(i.Path)
			alias := owned && to.Dir == owner.Dir && !workspace.InNodeModules(i.Path)
			if !bare || i.External || alias || owner.Declares(dep) || s.Closure.Root.DependsOn(dep) || seen[dep] {
				continue
			}
			seen[dep] = true
			hint := fmt.Sprintf("add it to the dependencies of %s", owner.ManifestPath())
			if slices.Contains(owner.DeclaredIn(dep), "devDependencies") {
				hint = fmt.Sprintf("it is among devDependencies of %s; move it to dependencies", owner.ManifestPath())
			}
			out = append(out, refusal(release.CodeDependencyUndeclared, s.lineOf(file, i.Original),
				fmt.Sprintf("imports %s, which %s does not declare: it resolves only by where the install put %s", i.Original, owner.ManifestPath(), i.Path), hint))
		}
	}
	return out
}

// lineOf is file:line of the first line that holds the import path in quotes.
func (s Subject) lineOf(file, name string) string {
	data, err := os.ReadFile(filepath.Join(s.Tree, filepath.FromSlash(file)))
	if err != nil {
		return file
	}
	for i, line := range strings.Split(string(data), "\n") {
		if strings.Contains(line, `"`+name+`"`) || strings.Contains(line, `'`+name+`'`) {
			return fmt.Sprintf("%s:%d", file, i+1)
		}
	}
	return file
}

func sorted(f []release.Finding) []release.Finding {
	slices.SortFunc(f, func(a, b release.Finding) int { return strings.Compare(a.Object+a.Message, b.Object+b.Message) })
	return f
}

// gathered leaves one finding for what several files of a package miss: the
// first, which says how many more there are. findings are sorted.
func gathered(findings []release.Finding) []release.Finding {
	type missing struct {
		code    release.Code
		message string
	}
	var out []release.Finding
	at, more := map[missing]int{}, map[int]int{}
	for _, f := range findings {
		key := missing{f.Code, f.Message}
		if i, ok := at[key]; ok {
			more[i]++
			continue
		}
		at[key] = len(out)
		out = append(out, f)
	}
	for i, n := range more {
		out[i].Message += fmt.Sprintf(" (and in %d more places)", n)
	}
	return out
}
