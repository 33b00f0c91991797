package explain_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/explain"
	"github.com/joelhooks/shipit/release"
)

func TestFind(t *testing.T) {
	for _, tc := range []struct{ term, name, says string }{
		{"", "", "The configuration of one monorepo"},
		{"app", "app", "names the ledger"},
		{"images.worker.run", "images.*.run", "Commands that install"},
		{"images.*.run", "images.*.run", "Commands that install"},
		{"run", "images.*.run", "Commands that install"},
		{"roles.gateway.host", "roles.*.host", "as a service"},
		{"roles.gateway.probes[0].path", "roles.*.probes[].path", "HTTP GET"},
		{"roles.gateway.probes.path", "roles.*.probes[].path", "HTTP GET"},
		{"environments.staging.roles.gateway.host.service", "environments.*.roles.*.host.service", "launchd label"},
		{"CrashLoop", "CrashLoop", "again and again"},
		{"crashloop", "CrashLoop", "again and again"},
	} {
		t.Run(tc.term+" is explained", func(t *testing.T) {
			a, err := explain.Find(tc.term)
			require.NoError(t, err)
			require.Equal(t, tc.name, a.Name)
			require.Contains(t, a.Description, tc.says)
		})
	}
	for _, tc := range []struct{ term, hint string }{
		{"images.worker.rum", "did you mean images.worker.run?"},
		{"image.worker.run", "did you mean images.worker.run?"},
		{"Crashlop", "did you mean CrashLoop?"},
		{"stabel", "did you mean roles.*.stable?"},
		{"env", "did you mean images.*.services.*.env or images.*.env or roles.*.env?"},
		{"xyzzy.plugh", "shipit explain lists the settings; docs/codes.md lists the codes"},
	} {
		t.Run(tc.term+" is not known, and what may be meant is named", func(t *testing.T) {
			_, err := explain.Find(tc.term)
			var unknown *explain.UnknownError
			require.ErrorAs(t, err, &unknown)
			require.Equal(t, tc.hint, unknown.Hint())
		})
	}
}

func TestComplete(t *testing.T) {
	for begun, want := range map[string]string{"im": "images", "images.worker.ru": "images.worker.run", "crashl": "CrashLoop", "roles.x.kubernetes.": "roles.x.kubernetes.namespace"} {
		terms := explain.Complete(begun)
		require.NotEmpty(t, terms, begun)
		require.True(t, slices.ContainsFunc(terms, func(term string) bool { return strings.HasPrefix(term, want+"\t") }), "%s: %q", begun, terms)
	}
	require.Empty(t, explain.Complete("images.worker.xyz"))
}

func TestEverySettingAndCodeIsExplained(t *testing.T) {
	for _, a := range explain.All() {
		found, err := explain.Find(a.Name)
		require.NoError(t, err, a.Name)
		require.Equal(t, a.Name, found.Name)
		require.True(t, strings.HasSuffix(a.Description, "."), "%s: %q", a.Name, a.Description)
		require.False(t, a.Required && a.Default != "", "%s is required and has a default", a.Name)
		require.True(t, a.Example != "" || len(a.Choices) > 0 || strings.Contains(a.Type, "mapping"), "%s has no example", a.Name)
		var text bytes.Buffer
		found.Write(&text)
		for line := range strings.Lines(text.String()) {
			require.True(t, len([]rune(line)) <= 81 || !strings.Contains(strings.TrimSpace(line[12:]), " "), "more than 80 columns: %s", line)
		}
	}
	for _, c := range release.Codes() {
		found, err := explain.Find(string(c.Code))
		require.NoError(t, err)
		require.Equal(t, c.Remedy, found.Remedy)
	}
}
