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
