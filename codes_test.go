package shipit_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

var update = flag.Bool("update", false, "rewrite what is generated")

// listed is a package as `go list` tells it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Standard                bool
}

// listPackages lists the packages of the module and what they import, each with
// the file of its exported types.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Standard", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	packages := map[string]listed{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return packages
		}
		require.NoError(t, err)
		packages[p.ImportPath] = p
	}
}

// codeUse is what one file does with codes.
type codeUse struct {
	used   map[string]bool // constants of package release
	faults []string        // codes that are made of text
}

// check reads the files of one package, tests apart.
func (u *codeUse) check(t *testing.T, p listed, imp types.Importer, fset *token.FileSet) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	_, err := (&types.Config{Importer: imp}).Check(p.ImportPath, fset, files, info)
	require.NoError(t, err)
	table := func(at token.Pos) bool {
		return strings.HasSuffix(p.ImportPath, "/release") && strings.HasPrefix(filepath.Base(fset.Position(at).Filename), "codes")
	}
	for id, object := range info.Uses {
		if c, ok := object.(*types.Const); ok && isCode(c.Type()) && !table(id.Pos()) {
			u.used[constant.StringVal(c.Val())] = true
		}
	}
	for expr, value := range info.Types {
		if table(expr.Pos()) {
			continue
		}
		at := strings.TrimPrefix(fset.Position(expr.Pos()).String(), p.Dir+"/")
		switch e := expr.(type) {
		case *ast.BasicLit:
			if isCode(value.Type) && e.Value != `""` {
				u.faults = append(u.faults, fmt.Sprintf("%s/%s: the code %s is text, and no constant of package release", p.ImportPath, at, e.Value))
			}
		case *ast.CallExpr:
			if fun, ok := info.Types[e.Fun]; ok && fun.IsType() && isCode(fun.Type) && !strings.HasSuffix(p.ImportPath, "/release") {
				u.faults = append(u.faults, fmt.Sprintf("%s/%s: a code is made of text", p.ImportPath, at))
			}
		}
	}
}

func isCode(t types.Type) bool {
	named, ok := t.(*types.Named)
	return ok && named.Obj().Name() == "Code" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == module+"release"
}

// A code that is not in the table, or stands in it for nothing, is a fault.
func TestCodesComeFromTheTable(t *testing.T) {
	packages := listPackages(t)
	fset := token.NewFileSet()
	imp := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(packages[path].Export) })
	u := &codeUse{used: map[string]bool{}}
	for path, p := range packages {
		if strings.HasPrefix(path, strings.TrimSuffix(module, "/")) && !strings.HasPrefix(path, module+"tools/") {
			u.check(t, p, imp, fset)
		}
	}
	require.Empty(t, u.faults)
	known := map[string]bool{}
	for _, e := range release.Codes() {
		require.False(t, known[string(e.Code)], "%s is explained twice", e.Code)
		known[string(e.Code)] = true
		require.True(t, u.used[string(e.Code)], "%s is in the table, and nothing uses it", e.Code)
		require.NotEmpty(t, e.Meaning, e.Code)
		require.NotEmpty(t, e.Remedy, e.Code)
		require.False(t, e.Allow && e.Kind == release.OfFailure, "%s: --allow takes findings only", e.Code)
	}
	for code := range u.used {
		require.True(t, known[code], "%s is declared, and the table does not explain it", code)
	}
}

// codesDoc is docs/codes.md.
func codesDoc() string {
	var b strings.Builder
	b.WriteString("# Codes\n\nEvery finding and every failure has a code. A finding is known before anything changes; it refuses the release or\n" +
		"warns. A failure is why a role did not come up. `--allow CODE` lets a release go on in spite of a finding, where the\ntable says so.\n\n" +
		"This file is generated from the table in package `release`: `go test -run TestCodesDoc -update .` writes it.\n\n" +
		"| code | is a | meaning | what to do | `--allow` |\n|---|---|---|---|---|\n")
	for _, e := range release.Codes() {
		allow := ""
		if e.Allow {
			allow = "yes"
		}
		kind := string(e.Kind)
		if e.Kind == release.OfBoth {
			kind = "finding or failure"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Code, kind, e.Meaning, e.Remedy, allow)
	}
	return b.String()
}

func TestCodesDoc(t *testing.T) {
	generated(t, "docs/codes.md", codesDoc())
}
