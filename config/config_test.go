package config_test

import (
	"fmt"
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
	t.Run("an environment changes only the role that it names, though another shares an anchor with it", func(t *testing.T) {
		text := replace(t, good, "kubernetes: {namespace: joelclaw}", "kubernetes: &place {namespace: joelclaw, pullSecrets: [ghcr]}")
		text = replace(t, text, "host: {manager: systemd, service: worker}", "kubernetes: *place")
		cfg, err := config.Parse("shipit.yaml", []byte(text), "staging")
		require.NoError(t, err)
		require.Equal(t, "staging", cfg.Roles[0].Kubernetes.Namespace)
		require.Equal(t, "joelclaw", cfg.Roles[1].Kubernetes.Namespace)
		cfg, err = config.Parse("shipit.yaml", []byte(strings.Replace(text, "roles: {cluster: {k", "roles: {host: {k", 1)), "staging")
		require.NoError(t, err)
		require.Equal(t, "joelclaw", cfg.Roles[0].Kubernetes.Namespace)
		require.Equal(t, config.Kubernetes{Namespace: "staging", PullSecrets: []string{"ghcr"}}, *cfg.Roles[1].Kubernetes)
	})
	t.Run("what << brings in counts less than what stands there, and an environment counts most", func(t *testing.T) {
		text := replace(t, good, "namespace: joelclaw}", "namespace: joelclaw}\n    env: &common {A: common, B: common, C: common}")
		text = replace(t, text, "service: worker}", "service: worker}\n    env: {B: host, <<: *common}")
		text = replace(t, text, "staging:\n", "staging:\n    images: {worker: {env: &staging {C: staging}}}\n")
		text = replace(t, text, "{cluster: {k", "{host: {env: {<<: *staging}}, cluster: {k")
		cfg, err := config.Parse("shipit.yaml", []byte(text), "staging")
		require.NoError(t, err)
		require.Equal(t, map[string]string{"A": "common", "B": "host", "C": "staging"}, cfg.Roles[1].Env)
		require.Equal(t, map[string]string{"A": "common", "B": "common", "C": "common"}, cfg.Roles[0].Env)
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
		{"a key that is declared twice is refused", "app: system-bus", "app: system-bus\napp: other", "", 2, "app", "is declared twice", "line 1 has it already"},
		{"a capital in a repository is named", "repository: ghcr.io/joelhooks/", "repository: ghcr.io/JoelHooks/", "", 4, "images.worker.repository", "has capital letters", "ghcr.io/joelhooks/"},
		{"two roles of one name are refused", "abacus:", "host:", "", 16, "roles.host", "is declared twice", "line 13 has it already"},
		{"a variable that is declared twice in an environment is refused", "{namespace: staging}", "{namespace: staging}, env: {A: 1, A: 2}", "", 21, "environments.staging.roles.cluster.env.A", "is declared twice", "line 21 has it already"},
		{"a required key that is missing is named with the line of its mapping", "manager: systemd, service: worker", "service: worker", "", 15, "roles.host.host.manager", "is missing", "systemd or launchd"},
		{"a required key without a value is missing", "app: system-bus", "app:", "", 1, "app", "is missing", ""},
		{"a required text that is empty is missing", "image: worker\n    kubernetes", "image: ''\n    kubernetes", "", 10, "roles.cluster.image", "is missing", ""},
		{"a required key of an item of a list is missing", "environments:", "check: {forbid: [{why: x}]}\nenvironments:", "", 19, "check.forbid[0].pattern", "is missing", ""},
		{"a role needs one target", "host: {manager: systemd, service: worker}", "port: 1", "", 13, "roles.host", "needs exactly one of kubernetes and host", ""},
		{"a role's image must be known", "abacus:\n    image: worker", "abacus:\n    image: wrker", "", 17, "roles.abacus.image", `"wrker" is not among images`, ""},
		{"a wrong duration is named", "within: 90s", "within: soon", "", 12, "roles.cluster.probe.within", `"soon" is no duration such as 90s or 5m`, ""},
		{"a probe asks one thing", "path: /,", "path: /, command: [x],", "", 12, "roles.cluster.probe", "needs exactly one of path, command and event", ""},
		{"an environment must be known", "", "", "prod", 0, "environments.prod", "no such environment", "known: staging"},
		{"an anchor within itself is refused", "{namespace: joelclaw}", "&place {namespace: joelclaw, <<: *place}", "", 11, "roles.cluster.kubernetes.<<.<<", "*place is inside of what it names", ""},
		{"<< brings in mappings only", "{namespace: joelclaw}", "{namespace: joelclaw, <<: worker}", "", 11, "roles.cluster.kubernetes.<<", "must be a mapping or a list of them", ""},
		{"an unknown key that << brings in is named", "{namespace: joelclaw}", "{<<: {namspace: joelclaw}}", "", 11, "roles.cluster.kubernetes.namspace", `unknown key "namspace"`, ""},
		{"a wrong type is named", "manager: systemd, service: worker}", "manager: systemd, service: worker}\n    port: abc", "", 16, "roles.host.port", `must be a whole number, not "abc"`, ""},
		{"text in the place of a list is named", "[bun, --no-install, run, src/serve.ts]", "bun run", "", 7, "images.worker.entrypoint", `must be a list, not "bun run"`, ""},
		{"a list in the place of a mapping is named", "{namespace: joelclaw}", "[joelclaw]", "", 11, "roles.cluster.kubernetes", "must be a mapping, not a list", ""},
		{"a list in the place of the roles is named", "roles: {cluster: {kubernetes: {namespace: staging}}}", "roles: [cluster]", "", 21, "environments.staging.roles", "must be a mapping, not a list", ""},
		{"a mapping in the place of text is named", "system-bus\nimages", "{name: system-bus}\nimages", "", 1, "app", "must be text, not a mapping", ""},
		{"a mapping in a list of texts is named", "expect: ['json.count > 0']", "expect: [a, {json: b}]", "", 12, "roles.cluster.probe.expect[1]", "must be text, not a mapping", ""},
		{"a wrong type in an environment is named", "namespace: staging", "replicas: many", "", 21, "environments.staging.roles.cluster.kubernetes.replicas", `must be a whole number, not "many"`, ""},
		{"an environment in an environment is refused", "staging:\n", "staging:\n    environments: {}\n", "", 21, "environments.staging.environments", "unknown key", ""},
		{"broken YAML is named with its line", "app: system-bus", "app: [", "", 3, "", "did not find expected", ""},
		{"broken YAML on the first line is named with it", "app: system-bus", "app: a: b", "", 1, "", "mapping values are not allowed in this context", ""},
		{"an anchor that is not there is named with its line", "{namespace: joelclaw}", "*place", "", 11, "", "unknown anchor 'place' referenced", ""},
		{"a byte that no text has is named with its line", "abacus", "\xff", "", 16, "", "invalid leading UTF-8 octet", ""},
		{"a bracket too many is named with its line", "image: worker\n    kubernetes", "image: }\n    kubernetes", "", 10, "", "did not find expected node content", ""},
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

func TestAliasesThatExpandToTooMuch(t *testing.T) {
	text := "a0: &a0 x\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	_, err := config.Parse("shipit.yaml", []byte(text), "")
	require.ErrorContains(t, err, "its aliases expand to too much")
}

func replace(t *testing.T, s, old, new string) string {
	t.Helper()
	if old == "" {
		return s
	}
	require.Equal(t, 1, strings.Count(s, old), "the text to break stands once")
	return strings.Replace(s, old, new, 1)
}

func TestBeside(t *testing.T) {
	cfg, err := config.Parse("deploy/shipit.yaml", []byte(good), "")
	require.NoError(t, err)
	for file, want := range map[string]string{"id_ed25519": "deploy/id_ed25519", "../id": "id", "/etc/id": "/etc/id", "~/.ssh/id": "~/.ssh/id", "": ""} {
		require.Equal(t, want, cfg.Beside(file))
	}
}

func TestTheStableTimeOfARole(t *testing.T) {
	for text, fault := range map[string]string{"5s": "", "-1s": "roles.host.stable"} {
		_, err := config.Parse("shipit.yaml", []byte("app: a\nimages:\n  w: {repository: ghcr.io/a/b, package: p, base: scratch}\nroles:\n  host: {image: w, stable: "+text+", host: {manager: systemd, service: a}}\n"), "")
		if fault == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, fault)
	}
}
