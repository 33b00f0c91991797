package shipit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/joelhooks/shipit/"

// lazyPatterns is what every package may import.
const lazyPatterns = module + "internal/pattern"

// may lists what each package of the product may import of the product.
func may() map[string][]string {
	below := []string{"config", "release"}
	withRegistry := append([]string{"registry"}, below...)
	return map[string][]string{
		"release":           {},
		"config":            {"release"},
		"explain":           below,
		"completion":        below,
		"console":           {"release"},
		"live":              {"release"},
		"report":            {"release"},
		"doctor":            append([]string{"attest", "deploy/host", "deploy/kube", "pipeline/engine", "pipeline/git"}, withRegistry...),
		"registry":          below,
		"manifests":         below,
		"probe":             below,
		"check":             append([]string{"manifests", "pipeline/git", "pipeline/workspace", "probe"}, below...),
		"scaffold":          below,
		"actions":           below,
		"progress":          {"live", "release"},
		"notify":            below,
		"ledger":            {"release"},
		"ledger/ledgertest": {"ledger"},
		"pipeline": append([]string{
			"attest", "pipeline/engine", "pipeline/git", "pipeline/lockfile", "pipeline/ocilayout", "pipeline/process", "pipeline/proof", "pipeline/workspace", "tracing",
		}, withRegistry...),
		"pipeline/engine":    {"pipeline/process", "tracing"},
		"tracing":            {},
		"pipeline/process":   {},
		"pipeline/proof":     append([]string{"pipeline/process", "pipeline/workspace"}, below...),
		"pipeline/git":       {},
		"pipeline/ocilayout": {},
		"pipeline/lockfile":  {},
		"pipeline/workspace": append([]string{"pipeline/git", "pipeline/lockfile"}, below...),
		"attest":             append([]string{"pipeline/lockfile"}, withRegistry...),
		"deploy":             append([]string{"ledger", "probe"}, below...),
		"deploy/kube": append([]string{
			"deploy", "deploy/kube/apply", "deploy/kube/client", "deploy/kube/compare", "deploy/kube/object", "deploy/kube/preflight",
			"deploy/kube/rollout", "deploy/kube/store",
		}, below...),
		"deploy/kube/object":   {"release"},
		"deploy/kube/client":   {"deploy/kube/object", "release"},
		"deploy/kube/compare":  {"deploy/kube/object", "release"},
		"deploy/kube/diagnose": {"deploy/kube/object", "release"},
		"deploy/kube/apply": {
			"deploy/kube/client", "deploy/kube/compare", "deploy/kube/diagnose", "deploy/kube/object", "release",
		},
		"deploy/kube/preflight": {
			"deploy/kube/apply", "deploy/kube/client", "deploy/kube/compare", "deploy/kube/diagnose", "deploy/kube/object", "release",
		},
		"deploy/kube/rollout": {"deploy/kube/client", "deploy/kube/diagnose", "deploy/kube/object", "release"},
		"deploy/kube/store":   {"deploy/kube/client", "deploy/kube/object", "ledger", "release"},
		"deploy/host":         append([]string{"deploy", "deploy/host/content", "deploy/host/machine", "deploy/host/service"}, below...),
		"deploy/host/content": {"deploy/host/machine", "release"},
		"deploy/host/machine": {"config", "release"},
		"deploy/host/service": {"deploy/host/content", "deploy/host/machine", "release"},
		"examples/dagger":     {"config", "pipeline", "pipeline/git", "registry"},
		"cmd/shipit": {
			"actions", "attest", "check", "config", "deploy", "deploy/host", "deploy/kube", "completion", "console", "doctor", "explain", "ledger", "live", "manifests", "pipeline", "pipeline/git",
			"notify", "progress", "registry", "release", "report", "scaffold", "tracing",
		},
	}
}

// only lists the packages that alone may import a library.
func only() map[string][]string {
	return map[string][]string{
		"dagger.io/dagger":     {"pipeline", "pipeline/engine", "examples/dagger"},
		"k8s.io/client-go":     {"deploy/kube/client"},
		"github.com/sigstore/": {"attest"},
		"charm.land/":          {"live"},
	}
}

// product calls visit with every file of the product, tests apart, and the package it is of.
func product(t *testing.T, mode parser.Mode, visit func(pkg, file string, parsed *ast.File)) {
	t.Helper()
	for pkg := range may() {
		files, err := filepath.Glob(filepath.FromSlash(pkg) + "/*.go")
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
			require.NoError(t, err)
			visit(pkg, file, parsed)
		}
	}
}

// productImports maps each package of the product to what its files import, tests apart.
func productImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	product(t, parser.ImportsOnly, func(pkg, _ string, parsed *ast.File) {
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imports[pkg] = append(imports[pkg], path)
		}
	})
	return imports
}

func TestImportsPointOneWay(t *testing.T) {
	allowed := may()
	for pkg, imports := range productImports(t) {
		for _, path := range imports {
			if path == lazyPatterns {
				continue
			}
			if own, ok := strings.CutPrefix(path, module); ok && own != pkg {
				require.Contains(t, allowed[pkg], own, "%s imports %s", pkg, own)
			}
			for library, owners := range only() {
				if strings.HasPrefix(path, library) {
					require.Contains(t, owners, pkg, "%s imports %s", pkg, path)
				}
			}
			if pkg == "release" {
				std := !strings.Contains(strings.Split(path, "/")[0], ".")
				require.True(t, std || path == "github.com/Masterminds/semver/v3", "release imports %s", path)
			}
		}
	}
}

// A regular expression of a package's own is compiled at the start of every command.
func TestRegularExpressionsAreCompiledWhenTheyAreUsed(t *testing.T) {
	product(t, parser.SkipObjectResolution, func(_, file string, parsed *ast.File) {
		for _, decl := range parsed.Decls {
			if _, own := decl.(*ast.GenDecl); !own {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if _, later := n.(*ast.FuncLit); later {
					return false
				}
				call, ok := n.(*ast.SelectorExpr)
				require.False(t, ok && strings.HasPrefix(call.Sel.Name, "MustCompile"), "%s: pattern.Lazy compiles it at its first use", file)
				return true
			})
		}
	})
}

func TestEveryPackageIsInTheLayout(t *testing.T) {
	var found []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") && name != "." || slices.Contains([]string{"tools", "bench", "testdata", "internal"}, name)) {
			return filepath.SkipDir
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(name, ".go") && dir != "." && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
		return nil
	})
	require.NoError(t, err)
	known := may()
	for _, dir := range found {
		require.Contains(t, known, dir, "a package that the layout does not know")
	}
}
