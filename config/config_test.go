package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
)

const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

const good = `app: system-bus
images:
  worker:
    repository: ghcr.io/joelhooks/system-bus-worker
    package: packages/system-bus
    base: docker.io/oven/bun` + digest + `
    entrypoint: [bun, --no-install, run, src/serve.ts]
roles:
  cluster:
    image: worker
    kubernetes: {namespace: joelclaw}
    probe: {path: /, expect: ['json.count > 0'], within: 90s}
  host:
    image: worker
    host: {manager: systemd, service: worker}
  abacus:
    image: worker
    host: {manager: launchd, service: com.joel.gateway}
environments:
  staging:
    roles: {cluster: {kubernetes: {namespace: staging}}}
`

func TestParse(t *testing.T) {
	t.Run("roles keep the order of the file", func(t *testing.T) {
		cfg, err := config.Parse("shipit.yaml", []byte(good), "")
		require.NoError(t, err)
		var names []string
		for _, r := range cfg.Roles {
			names = append(names, r.Name)
		}
		require.Equal(t, []string{"cluster", "host", "abacus"}, names)
		require.Equal(t, 90*time.Second, cfg.Roles[0].Probe.Within.Or(0))
	})
	t.Run("an environment is laid over the rest", func(t *testing.T) {
		cfg, err := config.Parse("shipit.yaml", []byte(good), "staging")
		require.NoError(t, err)
		require.Equal(t, "staging", cfg.Roles[0].Kubernetes.Namespace)
		require.Equal(t, "worker", cfg.Roles[0].Image)
	})
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name, old, new, env string
		line                int
		key, msg, hint      string
	}{
		{"an unknown key is named with its line", "entrypoint:", "entrypont:", "", 7, "images.worker.entrypont", `unknown key "entrypont"`, `did you mean "entrypoint"?`},
		{"an unknown key in an environment is named", "namespace: staging", "namspace: staging", "", 21, "environments.staging.roles.cluster.kubernetes.namspace", `unknown key "namspace"`, `did you mean "namespace"?`},
		{"a base by tag is refused", "bun" + digest, "bun:1.3.9", "", 6, "images.worker.base", `"docker.io/oven/bun:1.3.9" is not pinned by digest`, ""},
		{"a key that stands twice is refused", "app: system-bus", "app: system-bus\napp: other", "", 2, "", `mapping key "app" already defined at line 1`, ""},
		{"a role needs one place", "host: {manager: systemd, service: worker}", "port: 1", "", 13, "roles.host", "needs exactly one of kubernetes and host", ""},
		{"a role's image must be known", "abacus:\n    image: worker", "abacus:\n    image: wrker", "", 17, "roles.abacus.image", `"wrker" is not among images`, ""},
		{"a wrong duration is named", "within: 90s", "within: soon", "", 12, "", `"soon" is no duration such as 90s or 5m`, ""},
		{"a probe asks one thing", "path: /,", "path: /, command: [x],", "", 12, "roles.cluster.probe", "needs exactly one of path, command and event", ""},
		{"an environment must be known", "", "", "prod", 0, "environments.prod", "no such environment", "known: staging"},
		{"broken YAML is named with its line", "app: system-bus", "app: [", "", 2, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Parse("shipit.yaml", []byte(replace(t, good, tc.old, tc.new)), tc.env)
			var fault *config.Error
			require.ErrorAs(t, err, &fault)
			require.Equal(t, "shipit.yaml", fault.File)
			require.Equal(t, tc.line, fault.Line, fault.Error())
			require.Equal(t, tc.key, fault.Key)
			require.Contains(t, fault.Msg, tc.msg)
			require.Contains(t, fault.Hint, tc.hint)
		})
	}
}

func replace(t *testing.T, s, old, new string) string {
	t.Helper()
	if old == "" {
		return s
	}
	require.Equal(t, 1, strings.Count(s, old), "the text to break stands once")
	return strings.Replace(s, old, new, 1)
}
