package shipit_test

import (
	"maps"
	"os"
	"path/filepath"
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

// TestLinksOfThePagesLeadSomewhere holds the links between pages, and to their headings, to
// what is there.
func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	link := regexp.MustCompile(`(?:\]\(|src=")([^)":#\s]*)(#[^)"\s]+)?[)"]`)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			target := filepath.Join(filepath.Dir(page), found[1])
			if found[1] == "" {
				target = page
			}
			data, err := os.ReadFile(target)
			if info, statErr := os.Stat(target); statErr == nil && info.IsDir() {
				continue
			}
			require.NoError(t, err, "%s links to %s", page, found[1])
			if found[2] != "" {
				require.Contains(t, anchorsOf(string(data)), found[2], "%s links to %s%s", page, found[1], found[2])
			}
		}
	}
}

// anchorsOf are the anchors that GitHub gives the headings of a page.
func anchorsOf(text string) []string {
	var anchors []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors = append(anchors, "#"+strings.ReplaceAll(name, " ", "-"))
	}
	return anchors
}
