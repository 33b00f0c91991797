package shipit_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

// examples are the blocks of YAML of docs/inngest.md.
func examples(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("docs/inngest.md")
	require.NoError(t, err)
	var out []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		out = append(out, block[1])
	}
	return out
}

// TestTheExamplesForInngestAreValid parses every example of docs/inngest.md, as it is or
// within a small configuration, and compiles its expressions.
func TestTheExamplesForInngestAreValid(t *testing.T) {
	blocks := examples(t)
	require.Greater(t, len(blocks), 6)
	for i, block := range blocks {
		t.Run(fmt.Sprint(i, " ", strings.SplitN(block, "\n", 2)[0]), func(t *testing.T) {
			text := []byte(block)
			if i < len(blocks)-1 {
				text = within(t, block)
			}
			cfg, err := config.Parse("docs/inngest.md", text, "")
			require.NoError(t, err)
			for _, f := range probe.Validate(cfg) {
				require.NotEqual(t, release.Refuses, f.Severity, "%s", f)
			}
		})
	}
	whole, err := config.Parse("docs/inngest.md", []byte(blocks[len(blocks)-1]), "")
	require.NoError(t, err)
	require.Equal(t, []string{"cluster", "host", "gateway"}, []string{whole.Roles[0].Name, whole.Roles[1].Name, whole.Roles[2].Name})
}

// within lays a part of a configuration over a small one: settings of a role over the
// role, those of the file over the file.
func within(t *testing.T, part string) []byte {
	t.Helper()
	var whole, over map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(`
app: system-bus
images: {worker: {repository: registry.test/worker, package: packages/worker, base: scratch}}
roles: {cluster: {image: worker, kubernetes: {namespace: joelclaw}, port: 3111, probe: {path: /}}}
`), &whole))
	require.NoError(t, yaml.Unmarshal([]byte(part), &over))
	if !slices.ContainsFunc(config.Settings().Keys(), func(key string) bool { _, top := over[key]; return top }) {
		over = map[string]any{"roles": map[string]any{"cluster": over}}
	}
	text, err := yaml.Marshal(laidOver(whole, over))
	require.NoError(t, err)
	return text
}

func laidOver(below, over map[string]any) map[string]any {
	out := maps.Clone(below)
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		if had, both := out[key].(map[string]any); isMap && both {
			value = laidOver(had, inner)
		}
		out[key] = value
	}
	return out
}
