package proof_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
	"github.com/joelhooks/shipit/pipeline/git"
	"github.com/joelhooks/shipit/pipeline/proof"
	"github.com/joelhooks/shipit/pipeline/workspace"
	"github.com/joelhooks/shipit/release"
)

// hintFor is what is said to do about an import of the sample's worker, whose manifest
// has these dependencies. What the commands install, if there are any, is not there.
func hintFor(t *testing.T, imports, dependencies string, run [][]string) string {
	t.Helper()
	return findingFor(t, imports, dependencies, run).Hint
}

// findingFor is what is found of that import.
func findingFor(t *testing.T, imports, dependencies string, run [][]string) release.Finding {
	t.Helper()
	repo := sample.New(t, sample.Options{Edits: map[string]string{
		"packages/system-bus/src/serve.ts": "import \"" + imports + "\";\n",
		"packages/system-bus/package.json": `{"name": "@busrig/system-bus", ` + dependencies + `}`,
		"shared/settings.ts":               "export {};\n",
	}})
	source, err := git.Open(t.Context(), repo.Dir, "HEAD")
	require.NoError(t, err)
	defer source.Close()
	img := config.Image{Package: "packages/system-bus", Base: "scratch", Run: run, Entrypoint: []string{"bun", "src/serve.ts"}}
	closure, err := workspace.NewClosure(t.Context(), source, img)
	require.NoError(t, err)
	tree, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, f := range closure.Files {
		at := filepath.Join(tree, f.Path)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(repo.Read(f.Path)), 0o644))
	}
	err = proof.Subject{Image: img, Closure: closure, Scripts: []string{"packages/system-bus/src/serve.ts"}, Tree: tree, Committed: source.Has}.Run(t.Context())
	var refusal *release.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Len(t, refusal.Findings, 1)
	require.Equal(t, release.CodeImportUnresolved, refusal.Findings[0].Code)
	return refusal.Findings[0]
}

func TestAnImportThatIsMissingSaysWhatToDo(t *testing.T) {
	const none = `"dependencies": {}`
	const at = "packages/system-bus/package.json"
	for _, c := range []struct{ name, imports, dependencies, want string }{
		{"a file that is in the commit and not in the image", "../../../shared/settings", none, "shared/settings.ts is in the commit, and not in the image: name it under include of the image in shipit.yaml"},
		{"a file that is not in the commit", "./gone", none, "commit the file"},
		{"a package of the workspace", "@busrig/clock", none, `declare "@busrig/clock": "workspace:*" in dependencies of ` + at + ": it is packages/clock of the workspace"},
		{"a package for development", "hono", `"devDependencies": {"hono": "^4"}`, "move hono from devDependencies to dependencies of " + at + ": an image has nothing that is for development only"},
		{"a peer", "hono", `"peerDependencies": {"hono": "^4"}`, "add hono to dependencies of " + at + ": an install of production need not bring a peer"},
		{"a package that nobody declares", "hono", none, "declare hono in dependencies of " + at},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, hintFor(t, c.imports, c.dependencies, [][]string{{"pnpm", "install", "--prod"}}))
		})
	}
}

func TestAnImportThatNothingInstallsSaysWhatToDo(t *testing.T) {
	const install = "install it by images.*.run: without it only the workspace's own packages are linked"
	for _, c := range []struct{ name, dependencies, want string }{
		{"one that is declared", `"dependencies": {"hono": "^4"}`, install},
		{"one that nobody declares", `"dependencies": {}`, "declare hono in dependencies of packages/system-bus/package.json, and " + install},
		{"one for development", `"devDependencies": {"hono": "^4"}`, "move hono from devDependencies to dependencies of packages/system-bus/package.json, and " + install},
		{"a peer", `"peerDependencies": {"hono": "^4"}`, "add hono to dependencies of packages/system-bus/package.json, and " + install},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, hintFor(t, "hono", c.dependencies, nil)) })
	}
}

func TestAnImportThatIsMissingSaysWhereItIsDeclared(t *testing.T) {
	for kind, want := range map[string]string{
		"dependencies":         "packages/system-bus/package.json declares hono, but the install did not bring it",
		"devDependencies":      "packages/system-bus/package.json has hono among devDependencies only",
		"peerDependencies":     "packages/system-bus/package.json has hono among peerDependencies only",
		"optionalDependencies": "packages/system-bus/package.json has hono among optionalDependencies only",
	} {
		t.Run(kind, func(t *testing.T) {
			found := findingFor(t, "hono", `"`+kind+`": {"hono": "^4"}`, [][]string{{"pnpm", "install", "--prod"}})
			require.Equal(t, "imports hono, which is not in the image: "+want, found.Message)
		})
	}
}
