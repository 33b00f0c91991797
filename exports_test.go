package shipit_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// export is an identifier that a package exports.
type export struct {
	name   string       // "ledger.Lock.Unlock"
	object types.Object // as its own package declares it
}

// exports gathers what packages export and what others use of it. An identifier is
// known by where it is declared: a package that is read from source and one that is
// read from export data have objects of their own.
type exports struct {
	fset       *token.FileSet
	declared   map[string]export
	used       map[string]bool
	interfaces []*types.Interface
	errors     *types.Interface
}

func (x *exports) key(o types.Object) string {
	at := x.fset.Position(o.Pos())
	return fmt.Sprintf("%s %s:%d %s", o.Pkg().Path(), filepath.Base(at.Filename), at.Line, o.Name())
}

// read adds what one package declares and uses, tests apart.
func (x *exports) read(t *testing.T, p listed, imp types.Importer) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(x.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: imp}).Check(p.ImportPath, x.fset, files, info)
	require.NoError(t, err)
	for _, o := range info.Uses {
		if o.Pkg() != nil && o.Pkg() != pkg && strings.HasPrefix(o.Pkg().Path(), module) {
			x.use(o)
		}
	}
	for _, v := range info.Types {
		x.interfacesIn(v.Type)
	}
	if pkg.Name() == "main" {
		return
	}
	for _, name := range pkg.Scope().Names() {
		x.declare(strings.TrimPrefix(p.ImportPath, module)+"."+name, pkg.Scope().Lookup(name))
	}
}

// declare adds an exported identifier with its methods. The type of an error belongs
// to the contract of what returns it, with what its fields tell, and so does every
// member of a closed set.
func (x *exports) declare(name string, o types.Object) {
	if !o.Exported() {
		return
	}
	if types.Implements(types.NewPointer(o.Type()), x.errors) {
		if s, ok := o.Type().Underlying().(*types.Struct); ok {
			for field := range s.Fields() {
				x.useType(field.Type())
			}
		}
		return
	}
	x.declared[x.key(o)] = export{name, o}
	named, ok := o.Type().(*types.Named)
	if _, isType := o.(*types.TypeName); !ok || !isType {
		return
	}
	for m := range named.Methods() {
		if m.Exported() && !x.required(named, m) {
			x.declared[x.key(m)] = export{name + "." + m.Name(), m}
		}
	}
}

// use notes that another package names an object, and with it what it is made of.
func (x *exports) use(o types.Object) {
	switch generic := o.(type) {
	case *types.Func:
		o = generic.Origin()
	case *types.Var:
		o = generic.Origin()
	}
	if x.used[x.key(o)] {
		return
	}
	x.used[x.key(o)] = true
	named, ok := o.Type().(*types.Named)
	if _, isType := o.(*types.TypeName); !ok || !isType {
		x.useType(o.Type())
		return
	}
	if s, ok := named.Underlying().(*types.Struct); ok {
		for field := range s.Fields() {
			if field.Exported() {
				x.useType(field.Type())
			}
		}
	}
}

// usedType reports whether another package names a type or a value of it.
func (x *exports) usedType(t types.Type) bool {
	named, ok := t.(*types.Named)
	return ok && x.used[x.key(named.Obj())]
}

func (x *exports) useType(t types.Type) {
	switch t := t.(type) {
	case *types.Alias:
		x.useType(types.Unalias(t))
	case *types.Named:
		if o := t.Obj(); o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), module) {
			x.use(o)
		}
		for arg := range t.TypeArgs().Types() {
			x.useType(arg)
		}
	case interface{ Elem() types.Type }: // a pointer, slice, array, channel or map
		if m, ok := t.(*types.Map); ok {
			x.useType(m.Key())
		}
		x.useType(t.Elem())
	case *types.Signature:
		for v := range t.Params().Variables() {
			x.useType(v.Type())
		}
		for v := range t.Results().Variables() {
			x.useType(v.Type())
		}
	}
}

// interfacesIn adds the interfaces of a type and of what it takes.
func (x *exports) interfacesIn(t types.Type) {
	if signature, ok := t.(*types.Signature); ok {
		for v := range signature.Params().Variables() {
			x.interfacesIn(v.Type())
		}
		return
	}
	if t == nil {
		return
	}
	if i, ok := t.Underlying().(*types.Interface); ok && i.NumMethods() > 0 && !slices.Contains(x.interfaces, i) {
		x.interfaces = append(x.interfaces, i)
	}
}

// required reports whether a method is one of an interface that its type implements,
// by the names of the methods, or one that the standard library looks for.
func (x *exports) required(named *types.Named, m *types.Func) bool {
	if slices.Contains([]string{"Error", "Unwrap", "Is", "String", "MarshalJSON", "UnmarshalJSON", "UnmarshalText", "UnmarshalYAML"}, m.Name()) {
		return true
	}
	set := types.NewMethodSet(types.NewPointer(named))
	return slices.ContainsFunc(x.interfaces, func(i *types.Interface) bool {
		has := false
		for method := range i.Methods() {
			if set.Lookup(method.Pkg(), method.Name()) == nil {
				return false
			}
			has = has || method.Name() == m.Name()
		}
		return has
	})
}

// forTests are the packages that tests import.
func forTests() []string { return []string{"internal/", "ledger/ledgertest", "tools/"} }

// spared are exported for the tests of other packages, which have no other way in.
func spared() map[string]string {
	return map[string]string{
		"explain.Doc":    "docs/config.md is made of it",
		"pipeline.Build": "attest's tests sign what it builds",

		"pipeline/workspace.NewClosure": "pipeline/proof's tests prove what is in it",
		"check.Run":                     "the caller's workflow of docs/ci.md is checked by it",
	}
}

// What nobody outside imports is not exported.
func TestExportedMeansUsedElsewhere(t *testing.T) {
	packages := listPackages(t)
	x := &exports{fset: token.NewFileSet(), used: map[string]bool{}, errors: types.Universe.Lookup("error").Type().Underlying().(*types.Interface)}
	imp := importer.ForCompiler(x.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(packages[path].Export) })
	var product []listed
	for path, p := range packages {
		if strings.HasPrefix(path, module) && !slices.ContainsFunc(forTests(), func(prefix string) bool { return strings.HasPrefix(strings.TrimPrefix(path, module), prefix) }) {
			product = append(product, p)
		}
	}
	for range 2 { // the interfaces of all packages are known when methods are declared
		x.declared = map[string]export{}
		for _, p := range product {
			x.read(t, p, imp)
		}
	}
	for _, e := range x.declared {
		if spared()[e.name] != "" {
			x.use(e.object)
		}
	}
	var unused []string
	for key, e := range x.declared {
		if c, ok := e.object.(*types.Const); !x.used[key] && (!ok || !x.usedType(c.Type())) {
			unused = append(unused, e.name)
		}
	}
	slices.Sort(unused)
	require.Empty(t, unused, "%d exported identifiers that no other package uses", len(unused))
}
