package shipit_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheMapNamesEveryPackage holds docs/architecture.md to the packages that
// there are, and every path in it to a file that exists.
func TestTheMapNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	require.NoError(t, err)
	text := string(page)
	_, table, found := strings.Cut(text, "## Packages\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		named = append(named, row[1])
	}
	slices.Sort(named)
	require.Equal(t, slices.Sorted(maps.Keys(may())), named, "the packages of docs/architecture.md are not those of the layout")

	for _, path := range regexp.MustCompile("`((?:cmd|release|config|pipeline|registry|attest|manifests|deploy|ledger|probe|check|docs|tools|bench|testdata|internal)/[\\w./-]*)`").FindAllStringSubmatch(text, -1) {
		_, err := os.Stat(strings.TrimSuffix(path[1], "."))
		require.NoError(t, err, "docs/architecture.md names %s", path[1])
	}
}

// TestEveryPromiseIsHeldByATestThatExists holds docs/guarantees.md to the tests
// that it names, and each promise to at least one.
func TestEveryPromiseIsHeldByATestThatExists(t *testing.T) {
	page, err := os.ReadFile("docs/guarantees.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`([\\w./-]+_test\\.go)` `((?:Test|Fuzz)\\w+)`")
	promises := 0
	for _, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise |") {
			continue
		}
		promises++
		tests := named.FindAllStringSubmatch(line, -1)
		require.True(t, len(tests) > 0 || strings.HasSuffix(line, "| the same |"), "no test holds: %s", line)
		require.Equal(t, strings.Count(line, "_test.go"), len(tests), "a test is not named in full: %s", line)
		for _, test := range tests {
			source, err := os.ReadFile(test[1])
			require.NoError(t, err)
			require.Contains(t, string(source), "\nfunc "+test[2]+"(", "%s", test[1])
		}
	}
	require.Greater(t, promises, 20)
}
