package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALockfileIsCutDownToTheClosure(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		prune      func([]byte, map[string]bool) ([]byte, bool)
	}{
		{"of pnpm", "pnpm-lock", prunePnpm},
		{"of bun", "bun-lock", pruneBun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole, err := os.ReadFile(filepath.Join("testdata", tt.file+".whole"))
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join("testdata", tt.file+".cut"))
			require.NoError(t, err)
			got, ok := tt.prune(whole, map[string]bool{"": true, "packages/a": true, "packages/b": true})
			require.True(t, ok)
			require.Equal(t, string(want), string(got))
			all, ok := tt.prune(whole, map[string]bool{"": true, "packages/a": true, "packages/b": true, "packages/c": true})
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
		"no YAML":                      "\t\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := prunePnpm([]byte(data), map[string]bool{"": true})
			require.False(t, ok)
		})
	}
	_, ok := pruneBun([]byte("{"), map[string]bool{"": true})
	require.False(t, ok)
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
