package attest_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/attest"
	"github.com/joelhooks/shipit/pipeline/lockfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The lockfiles in testdata were written by pnpm 9.15 and bun 1.3.9 for one and
// the same workspace.
func lock(t *testing.T, file string) attest.Lock {
	t.Helper()
	return attest.Lock{File: parse(t, file, read(t, file)), Name: "worker", Package: "packages/app", Closure: []string{"packages/lib"}}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	return string(data)
}

func parse(t *testing.T, file, data string) lockfile.Lockfile {
	t.Helper()
	l, err := lockfile.Parse(file, []byte(data))
	require.NoError(t, err)
	return l
}

func TestSBOM(t *testing.T) {
	for kind, file := range map[string]string{"pnpm": lockfile.PNPM, "bun": lockfile.Bun} {
		t.Run("of "+kind, func(t *testing.T) {
			got, err := attest.SBOM(lock(t, file))
			require.NoError(t, err)
			golden(t, "sbom-"+kind+".json", got)

			again, err := attest.SBOM(lock(t, file))
			require.NoError(t, err)
			require.Equal(t, string(got), string(again), "the same lockfile gives the same bytes")

			names := components(t, got)
			require.ElementsMatch(t, []string{"is", "debug", "ms 2.0.0", "ms 2.1.3", "ws", "fsevents"}, names,
				"the closure, with an alias and both versions of a package, and nothing else")
		})
	}

	t.Run("another package of the same lockfile holds other things", func(t *testing.T) {
		for _, file := range []string{lockfile.PNPM, lockfile.Bun} {
			l := lock(t, file)
			l.Package, l.Closure = "packages/tool", nil
			got, err := attest.SBOM(l)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"debug", "mri", "ms 2.0.0"}, components(t, got))
			require.Contains(t, string(got), "pkg:npm/debug@2.6.9")
		}
	})

	t.Run("a link that leaves the closure is named", func(t *testing.T) {
		l := lock(t, lockfile.PNPM)
		l.Closure = nil
		_, err := attest.SBOM(l)
		require.ErrorContains(t, err, "packages/lib is linked to but is not in the closure")
	})

	t.Run("a dependency that the lockfile does not hold is named", func(t *testing.T) {
		for file, entry := range map[string]string{lockfile.PNPM: "  ms@2.1.3: {}\n", lockfile.Bun: `    "ms": [`} {
			l, whole := lock(t, file), read(t, file)
			broken := strings.Replace(whole, entry, strings.Replace(entry, "ms", "sm", 1), 1)
			require.NotEqual(t, whole, broken)
			l.File = parse(t, file, broken)
			_, err := attest.SBOM(l)
			require.ErrorContains(t, err, "the lockfile does not hold ms", file)
		}
	})

	t.Run("comments and trailing commas in bun.lock are no content", func(t *testing.T) {
		l := lock(t, lockfile.Bun)
		plain, err := attest.SBOM(l)
		require.NoError(t, err)
		l.File = parse(t, lockfile.Bun, "// of the team\n"+strings.Replace(read(t, lockfile.Bun), `"workspaces"`, `/* "a", ] */ "workspaces"`, 1))
		commented, err := attest.SBOM(l)
		require.NoError(t, err)
		require.Equal(t, string(plain), string(commented))
	})

	t.Run("what is required in one place and optional in another is required", func(t *testing.T) {
		got, err := attest.SBOM(attest.Lock{Name: "worker", Package: ".", File: parse(t, lockfile.PNPM, `
lockfileVersion: '9.0'
importers: {.: {dependencies: {p: {version: 1.0.0}, q: {version: 1.0.0}}}}
snapshots: {p@1.0.0: {optionalDependencies: {q: 1.0.0, r: 1.0.0}}, q@1.0.0: {}, r@1.0.0: {}}
`)})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"p": "required", "q": "required", "r": "optional"}, scopes(t, got))
	})

	t.Run("an optional peer that something else installed is not part of the closure", func(t *testing.T) {
		got, err := attest.SBOM(attest.Lock{Name: "worker", Package: "packages/a", File: parse(t, lockfile.Bun, `{
"lockfileVersion": 1,
"workspaces": {"": {"dependencies": {"q": "1", "r": "1"}}, "packages/a": {"name": "a", "dependencies": {"p": "1"}}},
"packages": {
  "p": ["p@1.0.0", "", {"peerDependencies": {"q": "1", "r": "1"}, "optionalPeers": ["q"]}],
  "q": ["q@1.0.0", "", {}],
  "r": ["r@1.0.0", "", {}],
}}`)})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"p": "required", "r": "required"}, scopes(t, got))
	})

	t.Run("an old lockfile is refused", func(t *testing.T) {
		l := lock(t, lockfile.PNPM)
		l.File = parse(t, lockfile.PNPM, "lockfileVersion: '6.0'\n")
		_, err := attest.SBOM(l)
		require.ErrorContains(t, err, `version "6.0" is not 9`)
	})
}

// components lists the packages of a registry; ms, of which there are two, with
// its version.
func components(t *testing.T, sbom []byte) []string {
	t.Helper()
	var doc struct {
		Components []struct{ Name, Version, PURL string }
	}
	require.NoError(t, json.Unmarshal(sbom, &doc))
	var names []string
	for _, c := range doc.Components {
		switch {
		case c.PURL == "":
		case c.Name == "ms":
			names = append(names, c.Name+" "+c.Version)
		default:
			names = append(names, c.Name)
		}
	}
	return names
}

func scopes(t *testing.T, sbom []byte) map[string]string {
	t.Helper()
	var doc struct {
		Components []struct{ Name, Scope string }
	}
	require.NoError(t, json.Unmarshal(sbom, &doc))
	all := map[string]string{}
	for _, c := range doc.Components {
		all[c.Name] = c.Scope
	}
	return all
}

func golden(t *testing.T, file string, got json.RawMessage) {
	t.Helper()
	pretty, err := json.MarshalIndent(got, "", "  ")
	require.NoError(t, err)
	path := filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.WriteFile(path, append(pretty, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(pretty)+"\n")
}
