package lockfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fuzz reads any bytes as a lockfile: whatever they are, nothing panics, and what
// is cut out of them is a lockfile again.
func fuzz(f *testing.F, kind string, seeds ...string) {
	f.Helper()
	for _, pattern := range seeds {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files, pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(data, "packages/a")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, folder string) {
		lock, err := Parse(kind, data)
		if err != nil {
			return
		}
		lock.Links()
		lock.Ranges()
		if all, err := lock.Packages(); err == nil {
			for id, p := range all {
				require.NotEmpty(t, id+p.Name)
			}
		}
		keep := map[string]bool{"": true, folder: true}
		lock.Declared(keep)
		if cut, ok := lock.Cut(keep); ok {
			_, err := Parse(kind, cut)
			require.NoError(t, err, "what was cut is no lockfile any more")
		}
	})
}

func FuzzPNPM(f *testing.F) {
	f.Add([]byte("lockfileVersion: '9.0'\nimporters: {.: &a {dependencies: *a}}\n"), ".")
	f.Add([]byte("lockfileVersion:\r\r '9.0'\nimporters: {.: {}}"), "a")
	fuzz(f, PNPM, "testdata/pnpm-*", "../../testdata/monorepo/pnpm-lock.yaml")
}

func FuzzBun(f *testing.F) {
	f.Add([]byte(`{"lockfileVersion":1,"workspaces":{"":{}},"packages":{"a":["b@workspace:",{}],"a/b":[]}}`), "")
	fuzz(f, Bun, "testdata/bun-*")
}

func FuzzNPM(f *testing.F) {
	f.Add([]byte(`{"lockfileVersion":3,"packages":{"":{"dependencies":{"a":"*"}},"node_modules/a":{"link":true}}}`), "a")
	fuzz(f, NPM, "testdata/npm-*")
}
