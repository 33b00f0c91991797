package explain_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/explain"
)

// base is a small configuration that is good. With the settings of one test it is
// put together as a tree.
const base = `
app: a
images: {worker: {repository: ghcr.io/a/b, package: p, base: scratch}}
roles:
  cluster: {image: worker, kubernetes: {namespace: a}}
  host: {image: worker, host: {manager: systemd, service: a}}
`

// schema is the schema of shipit.yaml, ready to check a file with.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := explain.Schema()
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("shipit.schema.json", doc))
	compiled, err := compiler.Compile("shipit.schema.json")
	require.NoError(t, err)
	return compiled
}

// verdicts are what the parser and the schema say of a file; nil is good.
func verdicts(t *testing.T, s *jsonschema.Schema, text string) (parser, editor error) {
	t.Helper()
	_, parser = config.Parse("shipit.yaml", []byte(text), "")
	var doc any
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc), text)
	return parser, s.Validate(doc)
}

// with is base with a value in YAML at a path, in which * is a name of base's.
func with(t *testing.T, path, value string, beside map[string]string) string {
	t.Helper()
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(base), &doc))
	for key, also := range beside {
		put(t, doc, key, also)
	}
	put(t, doc, path, value)
	text, err := yaml.Marshal(doc)
	require.NoError(t, err)
	return string(text)
}

func put(t *testing.T, doc map[string]any, path, value string) {
	t.Helper()
	var parsed any
	require.NoError(t, yaml.Unmarshal([]byte(value), &parsed))
	names := map[string]string{"services": "redis", "images": "worker", "roles": "cluster", "environments": "staging"}
	if strings.Contains(path, "roles.*.host") {
		names["roles"] = "host"
	}
	keys := strings.Split(path, ".")
	for i, key := range keys {
		if key == "*" {
			key = names[keys[i-1]]
		}
		list := strings.HasSuffix(key, "[]")
		key = strings.TrimSuffix(key, "[]")
		switch {
		case i == len(keys)-1 && list:
			doc[key] = []any{parsed}
		case i == len(keys)-1:
			doc[key] = parsed
		case list:
			inner := map[string]any{}
			if old, ok := doc[key].([]any); ok {
				inner = old[0].(map[string]any)
			}
			doc[key] = []any{inner}
			doc = inner
		default:
			if doc[key] == nil {
				doc[key] = map[string]any{}
			}
			doc = doc[key].(map[string]any)
		}
	}
}

// needs is what a setting needs beside it.
func needs(path string) map[string]string {
	parent := path[:strings.LastIndex(path, ".")+1]
	probe := probeOf(path)
	switch {
	case probe != "" && !strings.HasPrefix(strings.TrimPrefix(path, probe), ".path") && path != probe+".command" && !strings.HasPrefix(path, probe+".event"):
		return map[string]string{probe + ".path": "/"}
	case strings.HasSuffix(path, "policy.identity"), strings.HasSuffix(path, "policy.issuer"):
		return map[string]string{parent + "identity": "x", parent + "issuer": "y"}
	case strings.HasPrefix(path, "signing.policy."):
		return map[string]string{parent + "keys": "[cosign.pub]"}
	case strings.HasPrefix(path, "images.*.services.*."):
		return map[string]string{parent + "command": "[redis-server]", parent + "ports": "[6379]"}
	case strings.HasPrefix(path, "notify.webhooks[]."):
		return map[string]string{parent + "url": "https://hooks.example.com", parent + "secret": "SECRET"}
	case strings.HasPrefix(path, "check.forbid[].") && !strings.HasSuffix(path, "pattern"):
		return map[string]string{parent + "pattern": "x"}
	default:
		return nil
	}
}

// probeOf is the path of the probe that a path leads into; "" if there is none.
func probeOf(path string) string {
	for _, probe := range []string{"roles.*.probe", "roles.*.probes[]"} {
		if strings.HasPrefix(path, probe+".") {
			return probe
		}
	}
	return ""
}

func TestSchemaAndParserAgreeOnEverySetting(t *testing.T) {
	s := schema(t)
	parser, editor := verdicts(t, s, base)
	require.NoError(t, parser)
	require.NoError(t, editor)
	for _, a := range explain.All() {
		if strings.HasSuffix(a.Name, "[]") || strings.HasSuffix(a.Name, "*") || a.Name == "environments" {
			continue
		}
		good := append([]string{}, a.Choices...)
		good = append(good, a.Example)
		if !strings.HasPrefix(a.Default, "(") {
			good = append(good, a.Default)
		}
		for _, prefix := range []string{"", "environments.*."} {
			path := prefix + a.Name
			for _, value := range good {
				if value == "" || strings.HasPrefix(a.Type, "list") && value[0] != '[' || strings.HasPrefix(a.Type, "mapping") && value[0] != '{' {
					continue
				}
				text := with(t, path, value, needs(a.Name))
				if a.Name == "roles.*.image" || a.Name == "signing.mode" && value == "key" {
					continue // an image of that name, and a key, are needed beside it
				}
				parser, editor := verdicts(t, s, text)
				require.NoError(t, parser, "%s: %s", path, text)
				require.NoError(t, editor, "%s: %s", path, text)
			}
			for _, value := range bad(a) {
				text := with(t, path, value, needs(a.Name))
				parser, editor := verdicts(t, s, text)
				require.Error(t, parser, "%s: %s: %s", path, value, text)
				require.Error(t, editor, "%s: %s: %s", path, value, text)
			}
			unknown := path + "x"
			parser, editor := verdicts(t, s, with(t, unknown, "1", needs(a.Name)))
			require.Equal(t, parser == nil, editor == nil, "%s: %v, %v", unknown, parser, editor)
		}
	}
}

// bad are values of other types than that of the setting.
func bad(a explain.Answer) []string {
	values := []string{}
	switch {
	case strings.HasPrefix(a.Type, "list"):
		values = []string{"x", "1", "{x: y}", "true", "[{x: y}]"}
		if a.Type == "list of commands" {
			values = append(values, "[x]")
		}
	case strings.HasPrefix(a.Type, "mapping"):
		values = []string{"x", "1", "[x]", "true"}
	case a.Type == "text":
		values = []string{"[x]", "{x: y}"}
	case a.Type == "duration":
		values = []string{"x", "5", "1.5", "true", "[x]", "{x: y}", "-5s", "5 m"}
	case a.Type == "whole number":
		values = []string{"x", "1.5", "true", "[x]", "{x: y}"}
	case a.Type == "true or false":
		values = []string{"x", "1", "[x]", "{x: y}"}
	}
	if len(a.Choices) > 0 && a.Type == "text" {
		values = append(values, "nonsense")
	}
	return values
}

func TestSchemaAndParserAgreeOnRules(t *testing.T) {
	s := schema(t)
	for _, tc := range []struct {
		name string
		good bool
		text string
	}{
		{"a role with two targets", false, with(t, "roles.*.kubernetes", "{namespace: a}", map[string]string{"roles.cluster.host": "{manager: systemd, service: a}"})},
		{"a role without a target", false, with(t, "roles.cluster", "{image: worker}", nil)},
		{"a role with a target that is empty", false, with(t, "roles.cluster", "{image: worker, host: }", nil)},
		{"a role with an empty target beside one", true, with(t, "roles.*.kubernetes", "{namespace: a}", map[string]string{"roles.cluster.host": "null"})},
		{"a role without an image", false, with(t, "roles.cluster", "{kubernetes: {namespace: a}}", nil)},
		{"a role's name with a capital", false, with(t, "roles.Cluster", "{image: worker, kubernetes: {namespace: a}}", nil)},
		{"no roles", false, with(t, "roles", "{}", nil)},
		{"no images", false, with(t, "images", "{}", nil)},
		{"no app", false, with(t, "app", "null", nil)},
		{"an app of digits", true, with(t, "app", "5", nil)},
		{"an app with a capital", false, with(t, "app", "Bus", nil)},
		{"an app with a dash at its end", false, with(t, "app", "bus-", nil)},
		{"a namespace that is empty", false, with(t, "roles.*.kubernetes.namespace", "''", nil)},
		{"a repository with a tag", false, with(t, "images.*.repository", "ghcr.io/a/b:v1", nil)},
		{"a repository with a port", true, with(t, "images.*.repository", "127.0.0.1:5000/a/b", nil)},
		{"a repository with a capital", false, with(t, "images.*.repository", "ghcr.io/A/b", nil)},
		{"a base by tag", false, with(t, "images.*.base", "docker.io/oven/bun:1.3", nil)},
		{"a toolchain by tag", false, with(t, "images.*.toolchain", "node:22", nil)},
		{"a toolchain that is scratch", false, with(t, "images.*.toolchain", "scratch", nil)},
		{"a package that leads out", false, with(t, "images.*.package", "../p", nil)},
		{"a package that is absolute", false, with(t, "images.*.package", "/p", nil)},
		{"a package that is the root", true, with(t, "images.*.package", ".", nil)},
		{"a package whose name begins with dots", true, with(t, "images.*.package", "..p", nil)},
		{"an include that leads out", false, with(t, "images.*.include", "[../p]", nil)},
		{"a user by name", false, with(t, "images.*.user", "joel", nil)},
		{"a user that is a number", true, with(t, "images.*.user", "1000", nil)},
		{"a platform without an architecture", false, with(t, "images.*.platforms", "[linux]", nil)},
		{"a webhook over plain HTTP", false, with(t, "notify.webhooks", "[{url: 'http://hooks.example.com', secret: S}]", nil)},
		{"a webhook over plain HTTP to a name that looks like this machine", false, with(t, "notify.webhooks", "[{url: 'http://localhost@hooks.example.com', secret: S}]", nil)},
		{"a webhook on this machine", true, with(t, "notify.webhooks", "[{url: 'http://127.0.0.1:8080/hook', secret: S}]", nil)},
		{"a webhook whose address is in the environment", true, with(t, "notify.webhooks", "[{url: 'env:HOOK', secret: S}]", nil)},
		{"a webhook without a secret", false, with(t, "notify.webhooks", "[{url: 'https://hooks.example.com'}]", nil)},
		{"a webhook with the secret itself", false, with(t, "notify.webhooks", "[{url: 'https://hooks.example.com', secret: 'whsec_MfKQ+'}]", nil)},
		{"a service of neither image nor command", false, with(t, "images.*.services.*", "{ports: [1]}", nil)},
		{"a service of an image", true, with(t, "images.*.services.*", "{ports: [1], image: 'redis@sha256:"+strings.Repeat("0", 64)+"'}", nil)},
		{"a service by tag", false, with(t, "images.*.services.*", "{ports: [1], image: 'redis:7'}", nil)},
		{"a service of a command", true, with(t, "images.*.services.*", "{ports: [1], command: [redis-server]}", nil)},
		{"a service without a port", false, with(t, "images.*.services.*", "{ports: [], command: [redis-server]}", nil)},
		{"a service of a port that is none", false, with(t, "images.*.services.*", "{ports: [0], command: [redis-server]}", nil)},
		{"a service with a capital", false, with(t, "images.*.services", "{Redis: {ports: [1], command: [redis-server]}}", nil)},
		{"a sharing that there is not", false, with(t, "images.*.cacheSharing", "public", nil)},
		{"a variable that is a number", true, with(t, "roles.*.env", "{PORT: 3111, DEBUG: true}", nil)},
		{"a port that is none", false, with(t, "roles.*.port", "65536", nil)},
		{"a port below 0", false, with(t, "roles.*.port", "-1", nil)},
		{"a probe of nothing", false, with(t, "roles.*.probe", "{within: 5s}", nil)},
		{"a probe of two kinds", false, with(t, "roles.*.probe", "{path: /, command: [true]}", nil)},
		{"a probe of a path that is empty", false, with(t, "roles.*.probe", "{path: ''}", nil)},
		{"a probe of a command beside an empty path", true, with(t, "roles.*.probe", "{path: '', command: ['true']}", nil)},
		{"a probe in a list of two kinds", false, with(t, "roles.*.probes", "[{path: /, command: ['true']}]", nil)},
		{"a duration of zero", true, with(t, "roles.*.stable", "0", nil)},
		{"a service with a slash", false, with(t, "roles.*.host.service", "a/b", nil)},
		{"a conflict of another policy", false, with(t, "roles.*.kubernetes.conflicts", "{flux: win}", nil)},
		{"a predicate that is unknown", false, with(t, "signing.policy", "{keys: [a], predicates: [vex]}", nil)},
		{"a policy of nothing", false, with(t, "signing.policy", "{predicates: [sbom]}", nil)},
		{"an identity without an issuer", false, with(t, "signing.policy", "{identity: x}", nil)},
		{"an issuer without an identity", false, with(t, "signing.policy", "{issuer: x, keys: [a]}", nil)},
		{"a key that is missing", false, with(t, "signing", "{mode: key}", nil)},
		{"a key", true, with(t, "signing", "{mode: key, key: cosign.key}", nil)},
		{"fulcio without rekor", false, with(t, "signing", "{mode: keyless, fulcio: https://f, trustedRoot: r}", nil)},
		{"rekor without fulcio", false, with(t, "signing", "{mode: keyless, rekor: https://r, trustedRoot: r}", nil)},
		{"services without a root", false, with(t, "signing", "{mode: keyless, fulcio: https://f, rekor: https://r}", nil)},
		{"services with a root", true, with(t, "signing", "{mode: keyless, fulcio: https://f, rekor: https://r, trustedRoot: r}", nil)},
		{"a second Rekor without a timestamp", false, with(t, "signing", "{mode: keyless, rekorVersion: 2}", nil)},
		{"a third Rekor", false, with(t, "signing", "{mode: keyless, rekorVersion: 3, timestamp: https://t}", nil)},
		{"a pattern that is missing", false, with(t, "check.forbid", "[{why: x}]", nil)},
		{"an environment in an environment", false, with(t, "environments.staging.environments", "{}", nil)},
		{"an environment that changes one key", true, with(t, "environments.staging.roles.cluster.kubernetes.namespace", "staging", nil)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parser, editor := verdicts(t, s, tc.text)
			require.Equal(t, tc.good, parser == nil, "parser: %v\n%s", parser, tc.text)
			require.Equal(t, tc.good, editor == nil, "schema: %v\n%s", editor, tc.text)
		})
	}
}

// What a JSON Schema cannot say, only the parser refuses.
func TestWhatOnlyTheParserRefuses(t *testing.T) {
	s := schema(t)
	for name, text := range map[string]string{
		"an image that is not there":                   with(t, "roles.*.image", "other", nil),
		"a path that leads out on a detour":            with(t, "images.*.package", "a/../../b", nil),
		"a pattern that is no regular expression":      with(t, "check.forbid", "[{pattern: '('}]", nil),
		"an identity that is no regular expression":    with(t, "signing.policy", "{identity: '(', issuer: x}", nil),
		"a number so large that it is no whole number": fmt.Sprintf("%s\ntimeout: 99999999999h\n", base),
	} {
		t.Run(name, func(t *testing.T) {
			parser, editor := verdicts(t, s, text)
			require.Error(t, parser)
			require.NoError(t, editor)
		})
	}
}
