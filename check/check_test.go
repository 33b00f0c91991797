package check_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/check"
	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

var update = flag.Bool("update", false, "rewrite what the archives in testdata want")

// Each archive is a commit's tree with the findings in it, under want.
func TestFindingsAreAsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-", " "), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			tree := memory{}
			var want *txtar.File
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = &archive.Files[i]
					continue
				}
				tree[f.Name] = f.Data
			}
			require.NotNil(t, want, "the archive says what it wants")
			got := lines(findings(t, tree))
			if *update {
				want.Data = []byte(got)
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
				return
			}
			require.Equal(t, string(want.Data), got)
		})
	}
}

// The sample is what the stories release, so nothing may be wrong with it.
func TestTheSampleMonorepoIsClean(t *testing.T) {
	tree := sample(t)
	require.Empty(t, lines(findings(t, tree)))

	t.Run("and each fault in it is found", func(t *testing.T) {
		tree := maps.Clone(tree)
		replace(t, tree, "shipit.yaml", "--no-install, ", "")
		replace(t, tree, "shipit.yaml", "allowDuplicates: []", "lists: [packages/system-bus/src/functions/cluster.ts, packages/system-bus/src/functions/host.ts]")
		replace(t, tree, "packages/system-bus/src/functions/host.ts", `"local-health"`, `"task-created"`)
		replace(t, tree, "packages/system-bus/package.json", `"bun run src/serve.ts"`, `"git pull && bun install && bun run src/serve.ts"`)
		require.Equal(t, `refuse RuntimeMutation packages/system-bus/package.json:6: git pull at start changes what runs after it was built
refuse RuntimeMutation packages/system-bus/package.json:6: bun install at start changes what runs after it was built
refuse DuplicateFunction packages/system-bus/src/functions/host.ts:7: task-created is in another role's list too, in packages/system-bus/src/functions/cluster.ts:5
refuse RuntimeInstall shipit.yaml:9: bun without --no-install fetches a missing package from the registry when it starts
`, lines(findings(t, tree)))
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := check.Run(ctx, check.Input{Tree: memory{"shipit.yaml": nil}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestFindingsOfOthersAreGivenALine(t *testing.T) {
	tree := memory{"shipit.yaml": []byte("app: a\nroles:\n  cluster:\n    probes:\n      - path: /\n      - path: /x\n        expect:\n          - a\n          - b\n")}
	for _, tc := range []struct{ key, want string }{
		{"roles.cluster.probes[1].expect[1]", "shipit.yaml:9"},
		{"roles.cluster.probes[1].path", "shipit.yaml:6"},
		{"roles.cluster.probes[7].path", "shipit.yaml:5"},
		{"roles.gone.probe", "shipit.yaml:3"},
	} {
		t.Run(tc.key, func(t *testing.T) {
			got, err := check.Run(t.Context(), check.Input{
				Config: config.Config{Path: "shipit.yaml"}, Tree: tree,
				Keyed: []release.Finding{{Code: release.CodeProbeExpression, Object: tc.key}},
			})
			require.NoError(t, err)
			require.Len(t, got, 1)
			require.Equal(t, tc.want, got[0].Object)
		})
	}
	t.Run("a configuration outside of the tree is named by key", func(t *testing.T) {
		got, err := check.Run(t.Context(), check.Input{
			Config: config.Config{Path: "/etc/other.yaml"}, Tree: tree,
			Keyed: []release.Finding{{Code: release.CodeProbeExpression, Object: "roles.cluster"}},
		})
		require.NoError(t, err)
		require.Equal(t, "/etc/other.yaml: roles.cluster", got[0].Object)
	})
}

// BenchmarkRun looks for a forbidden reference in 2,000 files of 8 KiB.
func BenchmarkRun(b *testing.B) {
	tree := memory{"shipit.yaml": []byte("app: a\n")}
	for i := range 2000 {
		tree[fmt.Sprintf("packages/p%d/index.ts", i)] = []byte(strings.Repeat("const x = await fetch(url);\n", 300))
	}
	in := check.Input{Tree: tree, Config: config.Config{Path: "shipit.yaml", Check: config.Check{Forbid: []config.Forbid{{Pattern: "Code/system-bus-worker", Allow: []string{"docs/**"}}}}}}
	for b.Loop() {
		_, err := check.Run(b.Context(), in)
		require.NoError(b, err)
	}
}

// findings runs the checks; an image's closure is its own folder, the folders
// that the file "closure" of the tree names, and the lockfile.
func findings(t *testing.T, tree memory) []release.Finding {
	t.Helper()
	cfg, err := config.Parse(config.File, tree[config.File], "")
	require.NoError(t, err)
	closures := map[string][]string{}
	for name, img := range cfg.Images {
		closures[name] = append([]string{img.Package}, strings.Fields(string(tree["closure"]))...)
		if tree["pnpm-lock.yaml"] != nil {
			closures[name] = append(closures[name], "pnpm-lock.yaml")
		}
	}
	got, err := check.Run(t.Context(), check.Input{Config: cfg, Tree: tree, Closures: closures})
	require.NoError(t, err)
	return got
}

func lines(findings []release.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s\n", f.Severity, f)
	}
	return b.String()
}

func sample(t *testing.T) memory {
	t.Helper()
	tree := memory{}
	root := "../testdata/monorepo"
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		tree[filepath.ToSlash(rel)] = data
		return err
	}))
	tree["shipit.yaml"] = []byte(strings.NewReplacer(
		"${REGISTRY}", "localhost:5000", "${BASE}", "localhost:5000/bun@sha256:"+strings.Repeat("a", 64),
	).Replace(string(tree["shipit.yaml"])))
	return tree
}

func replace(t *testing.T, tree memory, file, before, after string) {
	t.Helper()
	require.Contains(t, string(tree[file]), before)
	tree[file] = []byte(strings.ReplaceAll(string(tree[file]), before, after))
}

// memory is a tree by path.
type memory map[string][]byte

func (m memory) ReadFile(path string) ([]byte, error) {
	if data, ok := m[path]; ok {
		return data, nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

func (m memory) List(path string) ([]string, error) {
	var files []string
	for file := range m {
		if path == "" || file == path || strings.HasPrefix(file, path+"/") {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files, nil
}

func (m memory) ReadFiles(paths []string, visit func(string, io.Reader) error) error {
	for _, path := range paths {
		if data, ok := m[path]; ok {
			if err := visit(path, strings.NewReader(string(data))); err != nil {
				return err
			}
		}
	}
	return nil
}
