package workspace

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzWorkspaceFiles reads any text as the files that make a workspace: a
// package.json, a glob of it, and a tsconfig.
func FuzzWorkspaceFiles(f *testing.F) {
	monorepo := "../../testdata/monorepo"
	manifests, err := filepath.Glob(monorepo + "/packages/*/package.json")
	require.NoError(f, err)
	require.NotEmpty(f, manifests)
	for _, file := range append(manifests, monorepo+"/package.json") {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data, "packages/*", `{"extends":"../../tsconfig.json"}`, "packages/a")
	}
	f.Add([]byte(`{"workspaces":{"packages":["a"]},"dependencies":{"b":"link:../../x"}}`), "!{a,b}/**", `{"extends":["./a","../../../b"]}`, "a/b")
	f.Add([]byte(`{"workspaces":["**/**/**/**/*{","}{"]}`), "}a{,", `{"extends":"./.."}`, ".")
	f.Fuzz(func(t *testing.T, data []byte, glob, tsconfig, dir string) {
		began := time.Now()
		var m manifest
		if json.Unmarshal(data, &m) == nil {
			m.runtimeDependencies()
			m.declares(dir)
			if match, err := globSet(m.Workspaces); err == nil {
				match(dir)
			}
		}
		if match, err := globSet([]string{glob}); err == nil {
			match(dir)
		}
		for _, p := range extended("packages/a/tsconfig.json", []byte(tsconfig)) {
			require.True(t, p == path.Clean(p) || p == path.Clean(strings.TrimSuffix(p, ".json"))+".json", p)
			require.False(t, p == ".." || strings.HasPrefix(p, "../") || strings.HasPrefix(p, "/"), "leads out of the repository: %q", p)
		}
		require.Less(t, time.Since(began), time.Minute)
	})
}
