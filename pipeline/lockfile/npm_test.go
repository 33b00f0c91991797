package lockfile

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func readNPM(t *testing.T) Lockfile {
	t.Helper()
	data, err := os.ReadFile("testdata/npm-lock.whole")
	require.NoError(t, err)
	lock, err := Parse(NPM, data)
	require.NoError(t, err)
	return lock
}

func TestPackageLock(t *testing.T) {
	lock := readNPM(t)
	t.Run("a range that a package of the workspace satisfies is a link to it", func(t *testing.T) {
		require.Equal(t, map[Dependency]bool{{Folder: "packages/api", Name: "@shop/prices"}: true}, lock.Links())
	})
	t.Run("the ranges are those of the manifests", func(t *testing.T) {
		require.Equal(t, map[string]string{"@shop/prices": "*", "@shop/tools": "*", "is-even": "^1.0.0", "is-number": "^7.0.0"}, lock.Ranges()["packages/api"])
	})
	t.Run("each package sees what is nearest to it", func(t *testing.T) {
		all, err := lock.Packages()
		require.NoError(t, err)
		require.Equal(t, []string{FolderID("packages/prices"), "node_modules/is-even"}, all[FolderID("packages/api")].Needs)
		require.Equal(t, []string{"node_modules/is-even/node_modules/is-odd"}, all["node_modules/is-even"].Needs)
		odd := all["node_modules/is-even/node_modules/is-odd"]
		require.Equal(t, "is-odd", odd.Name)
		require.Equal(t, "0.1.2", odd.Version)
		require.Contains(t, odd.Integrity, "sha512-")
		require.Equal(t, "@shop/api", all[FolderID("packages/api")].Name)
	})
	t.Run("nothing is cut out, and npm looks for no further package", func(t *testing.T) {
		keep := map[string]bool{"": true, "packages/api": true}
		_, ok := lock.Cut(keep)
		require.False(t, ok)
		require.Empty(t, lock.Declared(keep))
	})
	t.Run("the first version of the format is refused, with what writes a newer one", func(t *testing.T) {
		_, err := Parse(NPM, []byte(`{"lockfileVersion": 1, "dependencies": {}}`))
		require.ErrorContains(t, err, "--lockfile-version 3")
	})
}
