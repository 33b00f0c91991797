package lockfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALockfileIsCutDownToTheClosure(t *testing.T) {
	for _, tt := range []struct {
		name, file, kind string
	}{
		{"of pnpm", "pnpm-lock", PNPM},
		{"of bun", "bun-lock", Bun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole, err := os.ReadFile(filepath.Join("testdata", tt.file+".whole"))
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join("testdata", tt.file+".cut"))
			require.NoError(t, err)
			lock, err := Parse(tt.kind, whole)
			require.NoError(t, err)
			got, ok := lock.Cut(map[string]bool{"": true, "packages/a": true, "packages/b": true})
			require.True(t, ok)
			require.Equal(t, string(want), string(got))
			all, ok := lock.format.cut(whole, map[string]bool{"": true, "packages/a": true, "packages/b": true, "packages/c": true})
			require.True(t, ok)
			require.Equal(t, string(whole), string(all), "with every package nothing is cut")
		})
	}
}

func TestALockfileThatIsNotUnderstoodStaysWhole(t *testing.T) {
	for name, data := range map[string]string{
		"another version":              "lockfileVersion: '6.0'\nimporters:\n  .: {}\n",
		"a package that is not listed": "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      a:\n        specifier: 1.0.0\n        version: 1.0.0\n",
		"importers in one line":        "lockfileVersion: '9.0'\nimporters: {.: {}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			lock, err := Parse(PNPM, []byte(data))
			require.NoError(t, err)
			_, ok := lock.Cut(map[string]bool{"": true})
			require.False(t, ok)
		})
	}
	_, err := Parse(PNPM, []byte("\t\n"))
	require.ErrorContains(t, err, PNPM)
	_, err = Parse(Bun, []byte("{"))
	require.ErrorContains(t, err, Bun)
}

func TestTheKeyOfASnapshot(t *testing.T) {
	for _, tt := range [][3]string{
		{"a", "1.0.0", "a@1.0.0"},
		{"a", "1.0.0(b@2.0.0)", "a@1.0.0(b@2.0.0)"},
		{"a", "real@1.0.0", "real@1.0.0"},
		{"a", "@s/real@1.0.0(b@2.0.0)", "@s/real@1.0.0(b@2.0.0)"},
		{"a", "link:../a", ""},
		{"a", "file:vendor/a.tgz", "a@file:vendor/a.tgz"},
		{"a", "https://codeload.github.com/o/r/tar.gz/abc", "a@https://codeload.github.com/o/r/tar.gz/abc"},
	} {
		require.Equal(t, tt[2], snapshotKey(tt[0], tt[1]), "%s %s", tt[0], tt[1])
	}
}

func TestTheRangesThatALockfileWasMadeFrom(t *testing.T) {
	pnpm := "importers:\n  .: {}\n  packages/a:\n    dependencies:\n      x:\n        specifier: ^1.0.0\n        version: 1.2.3\n    devDependencies:\n      y:\n        specifier: 'catalog:'\n        version: 2.0.0\n"
	bun := `{"workspaces":{"":{"name":"root"},"packages/a":{"dependencies":{"x":"^1.0.0",},"devDependencies":{"y":"catalog:",},},},}`
	want := map[string]map[string]string{"": {}, "packages/a": {"x": "^1.0.0", "y": "catalog:"}}
	for file, data := range map[string]string{"pnpm-lock.yaml": pnpm, "bun.lock": bun} {
		lock, err := Parse(file, []byte(data))
		require.NoError(t, err)
		require.Equal(t, want, lock.Ranges(), file)
	}
}

func TestACommaInAStringOfBunLockIsContent(t *testing.T) {
	lock, err := Parse(Bun, []byte(`{"workspaces":{"":{"name":"root","dependencies":{"x":"^1 ,] || ^2",},},},}`))
	require.NoError(t, err)
	require.Equal(t, "^1 ,] || ^2", lock.Ranges()[""]["x"])
}

func TestALockfileWhoseEntriesAreNotTheirOwnLinesIsNotCut(t *testing.T) {
	for name, data := range map[string]string{
		"a mapping in braces":          "lockfileVersion: '9.0'\nimporters:\n  {.: {}, packages/a: {}}\n",
		"all of it in braces":          "{lockfileVersion: '9.0',\nimporters: {\n.: {},\npackages/a: {}}}\n",
		"an entry that is another one": "lockfileVersion: '9.0'\nimporters:\n  packages/a: &a {}\n  .: *a\n",
		"lines of another break":       "lockfileVersion: '9.0'\nimporters:\r  .: {}\r  packages/a: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			lock, err := Parse(PNPM, []byte(data))
			require.NoError(t, err)
			_, ok := lock.Cut(map[string]bool{"": true})
			require.False(t, ok)
		})
	}
}
