package workspace

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
)

func TestALockfileIsHeldAgainstTheManifest(t *testing.T) {
	m := manifest{
		Dependencies:     map[string]string{"a": "^1.0.0", "w": "workspace:*"},
		DevDependencies:  map[string]string{"d": "1.0.0"},
		PeerDependencies: map[string]string{"p": "*"},
	}
	for _, tt := range []struct {
		name   string
		locked map[string]string
		over   map[string]bool
		want   string
	}{
		{"the same", map[string]string{"a": "^1.0.0", "w": "workspace:*", "d": "1.0.0"}, nil, ""},
		{"a peer may be in it", map[string]string{"a": "^1.0.0", "w": "workspace:*", "d": "1.0.0", "p": "*"}, nil, ""},
		{"another range", map[string]string{"a": "^0.9.0", "w": "workspace:*", "d": "1.0.0"}, nil, "a is ^0.9.0 in it, not ^1.0.0"},
		{"an overridden range", map[string]string{"a": "2.0.0", "w": "workspace:*", "d": "1.0.0"}, map[string]bool{"a": true}, ""},
		{"one missing", map[string]string{"a": "^1.0.0", "w": "workspace:*"}, nil, "d (1.0.0) is not in it"},
		{"one too many", map[string]string{"a": "^1.0.0", "w": "workspace:*", "d": "1.0.0", "z": "1.0.0"}, nil, "z (1.0.0) is in it, but not declared any more"},
		{"not in it at all", nil, nil, "a (^1.0.0) is not in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, drift(m, tt.locked, tt.over))
		})
	}
}

func TestThePackageOfAnOverride(t *testing.T) {
	for key, want := range map[string]string{"a": "a", "a@1": "a", "@s/a@^1": "@s/a", "p>a": "a", "p@1>@s/a@2": "@s/a", "**/a": "a", "p/@s/a": "@s/a", "@p/q/a@1": "a"} {
		require.Equal(t, want, overrideName(key))
	}
}

func TestAResolutionOverridesARange(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{
		worker + "/package.json": `{"name":"@busrig/system-bus","dependencies":{"@busrig/event-contract":"workspace:*","hono":"^4.0.0"}}`,
	}})
	root := r.Read("package.json")
	resolved := func() error {
		_, err := NewInstallable(t.Context(), open(t, r.Dir), config.Image{Package: worker})
		return err
	}
	require.ErrorContains(t, resolved(), "LockfileStale")
	r.Commit("resolutions", map[string]string{"package.json": strings.Replace(root, "{", `{"resolutions":{"hono":"4.1.0"},`, 1)})
	require.NoError(t, resolved())
}
