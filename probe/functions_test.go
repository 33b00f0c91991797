package probe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/probe"
	"github.com/joelhooks/shipit/release"
)

func TestFunctions(t *testing.T) {
	t.Run("ids and the last attempt are read from the health answer", func(t *testing.T) {
		role, ask := worker(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"functions":["task-created","approval-request"],"worker":{"lastRegistrationAt":"2026-02-14T09:15:02.5Z"}}`)
		})
		role.Probe = &config.Probe{Path: "/"}
		f, answers, err := probe.Functions(t.Context(), role, config.Functions{}, ask)
		require.NoError(t, err)
		require.True(t, answers)
		require.Equal(t, release.RoleFunctions{
			Role: "cluster", IDs: []string{"approval-request", "task-created"}, Count: 2,
			LastRegistration: time.Date(2026, 2, 14, 9, 15, 2, 5e8, time.UTC),
		}, f)
	})
	for _, tc := range []struct {
		name, ids, body string
		answers         bool
		want            string
	}{
		{"ids can be picked by an expression", `json.fns.map(f, f.id)`, `{"fns":[{"id":"a"}]}`, true, ""},
		{"a role without functions does not answer for them", "", `{"ok":true}`, false, ""},
		{"a role that answers in words does not answer for them", "", `ok`, false, ""},
		{"a number is no list of ids", "json.count", `{"count":3}`, false, "gives int, not a list of ids"},
		{"a list of numbers is no list of ids", "", `{"functions":[1]}`, false, "not a list of ids"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, answers, err := probe.FunctionsIn("host", config.Functions{IDs: tc.ids}, probe.Answer{Status: 200, Body: []byte(tc.body)})
			require.Equal(t, tc.answers, answers)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			if answers {
				require.Equal(t, []string{"a"}, f.IDs)
			}
		})
	}
	t.Run("a role without an HTTP probe is not asked", func(t *testing.T) {
		_, answers, err := probe.Functions(t.Context(), config.Role{}, config.Functions{}, probe.Asker{})
		require.NoError(t, err)
		require.False(t, answers)
	})
}

func TestOwnership(t *testing.T) {
	of := func(role string, ids ...string) release.RoleFunctions {
		return release.RoleFunctions{Role: role, IDs: ids}
	}
	t.Run("ids in two roles, or twice in one, are duplicates", func(t *testing.T) {
		owned := probe.Ownership([]release.RoleFunctions{of("cluster", "a", "b", "dup"), of("host", "b", "c", "dup", "c")}, []string{"dup"})
		require.Equal(t, []string{"b", "c"}, owned.Duplicates)
		f := failure(t, probe.Disputed(owned))
		require.Equal(t, release.CodeFunctionOwnership, f.Code)
		require.Equal(t, "more than one owner: b in cluster and host; c in host and host", f.Message)
	})
	t.Run("an allowed duplicate is none", func(t *testing.T) {
		owned := probe.Ownership([]release.RoleFunctions{of("cluster", "dup"), of("host", "dup")}, []string{"dup"})
		require.Equal(t, []string{}, owned.Duplicates)
		require.NoError(t, probe.Disputed(owned))
	})
}

func TestRegister(t *testing.T) {
	server := func(t *testing.T, body string) string {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	answering := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut || r.URL.Path != "/api/inngest" {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const done = `{"message":"Successfully registered","modified":true}`
	const apps = `{"apps":[{"id":"system-bus-cluster","url":"http://bus.joelclaw:3111/api/inngest"},{"id":"system-bus-host","url":"http://mac:3111/api/inngest"}]}`

	t.Run("the answer of the call is the proof", func(t *testing.T) {
		role, ask := worker(t, answering(200, done))
		role.Register = &config.Register{Path: "/api/inngest", Expect: []string{"status == 200", "json.modified"}}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "200 "+done, proof)
	})
	t.Run("a role that registers nothing is not asked", func(t *testing.T) {
		proof, err := probe.Register(t.Context(), config.Role{}, probe.Asker{})
		require.NoError(t, err)
		require.Empty(t, proof)
	})
	t.Run("an attempt that fails is no registration", func(t *testing.T) {
		role, ask := worker(t, answering(500, `{"message":"Failed to register","modified":false}`))
		role.Register = &config.Register{Path: "/api/inngest", Within: config.Duration(2 * time.Second)}
		_, err := probe.Register(t.Context(), role, ask)
		f := failure(t, err)
		require.Equal(t, release.CodeRegistrationFailed, f.Code)
		require.Contains(t, f.Message, "PUT /api/inngest: status == 200 does not hold: status is 500")
		require.Contains(t, f.Log, `{"message":"Failed to register","modified":false}`)
	})
	t.Run("a loopback URL at the server is refused", func(t *testing.T) {
		role, ask := worker(t, answering(200, done))
		role.Register = &config.Register{
			Path: "/api/inngest", Host: "bus.joelclaw:3111",
			Ask: &config.Request{URL: server(t, `{"url":"http://127.0.0.1:3111/api/inngest?x=1"}`)},
		}
		_, err := probe.Register(t.Context(), role, ask)
		f := failure(t, err)
		require.Contains(t, f.Message, "http://127.0.0.1:3111/api/inngest is registered, not a URL on bus.joelclaw:3111")
		require.Contains(t, f.Hint, "INNGEST_SERVE_HOST")
	})
	t.Run("of several apps an expression picks the role's", func(t *testing.T) {
		role, ask := worker(t, answering(200, done))
		role.Register = &config.Register{
			Path: "/api/inngest", Host: "bus.joelclaw", URL: `json.apps.filter(a, a.id == "system-bus-cluster")[0].url`,
			Ask: &config.Request{URL: server(t, apps)},
		}
		proof, err := probe.Register(t.Context(), role, ask)
		require.NoError(t, err)
		require.Equal(t, "200 "+done+", at http://bus.joelclaw:3111/api/inngest", proof)

		role.Register.URL = ""
		_, err = probe.Register(t.Context(), role, ask)
		require.Contains(t, failure(t, err).Message, "http://mac:3111/api/inngest is registered")

		role.Register.URL = `json.apps.filter(a, a.id == "gone")[0].url`
		_, err = probe.Register(t.Context(), role, ask)
		require.Contains(t, failure(t, err).Message, "no answer says which URL is registered")
	})
	t.Run("an expected host that no answer names is not taken for granted", func(t *testing.T) {
		role, ask := worker(t, answering(200, done))
		role.Register = &config.Register{Path: "/api/inngest", Host: "bus.joelclaw:3111"}
		_, err := probe.Register(t.Context(), role, ask)
		require.Contains(t, failure(t, err).Message, "no answer says which URL is registered")
	})
}

func TestAnAddressThatNobodyReachesIsFoundInTheConfiguration(t *testing.T) {
	register := &config.Register{Path: "/api/inngest", Ask: &config.Request{URL: "http://inngest:8288"}}
	for name, tt := range map[string]struct {
		role config.Role
		want string
	}{
		"of a role on this machine":                        {config.Role{Host: &config.Host{}}, "no address is known at which the server reaches the worker"},
		"of a role on this machine that announces one":     {config.Role{Host: &config.Host{}, Env: map[string]string{"INNGEST_SERVE_HOST": "http://mac:3111"}}, ""},
		"of a role on a machine with an address":           {config.Role{Host: &config.Host{Address: "joel@panda"}}, ""},
		"of a role in a cluster, which may have a Service": {config.Role{Kubernetes: &config.Kubernetes{}}, ""},
		"that is loopback": {
			config.Role{Kubernetes: &config.Kubernetes{}, Env: map[string]string{"INNGEST_SERVE_HOST": "http://localhost:3111"}}, "the worker would register localhost:3111, where the server finds itself",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.role.Name, tt.role.Port, tt.role.Register = "host", 3111, register
			found := probe.Validate(config.Config{Roles: config.Roles{tt.role}})
			if tt.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, release.CodeRegistrationAddress, found[0].Code)
			require.Contains(t, found[0].Message, tt.want)
		})
	}
}

func TestValidate(t *testing.T) {
	cfg := config.Config{
		Functions: config.Functions{IDs: "json."},
		Roles: config.Roles{{
			Name: "cluster", Port: 3111,
			Probe: &config.Probe{Path: "/", Expect: []string{"status == 200", "jso.count > 0"}},
			Probes: []config.Probe{
				{Command: []string{"x"}, Output: "("},
				{Path: "health"},
				{Event: &config.Event{Send: config.Request{URL: "/e", Expect: []string{"text"}}, Await: config.Request{URL: "ftp://x/${ID}", Body: "${env:SHIPIT_TEST_UNSET}", Expect: []string{`text.contains("${ID}")`}}}},
			},
			Register: &config.Register{Path: "/api", URL: "json.x[", Ask: &config.Request{URL: "https://x/${ID}", Expect: []string{"sttus"}}},
		}, {
			Name: "quiet", Probe: &config.Probe{Path: "/"},
		}},
	}
	var lines []string
	for _, f := range probe.Validate(cfg) {
		lines = append(lines, f.String())
		require.Equal(t, f.Code != release.CodeProbeVariable, f.Severity == release.Refuses)
	}
	require.Len(t, lines, 10)
	for i, want := range []string{
		`cluster: ProbeExpression roles.cluster.probe.expect[1]: column 1 of "jso.count > 0": undeclared reference to 'jso'`,
		"cluster: ProbePattern roles.cluster.probes[0].output: error parsing regexp",
		`cluster: ProbeRequest roles.cluster.probes[1].path: "health" is neither a path nor an http URL`,
		`cluster: ProbeExpression roles.cluster.probes[2].event.send.expect[0]: column 1 of "text": gives string, not true or false`,
		`cluster: ProbeRequest roles.cluster.probes[2].event.await.url: "ftp://x/${ID}" is neither a path nor an http URL`,
		"cluster: ProbeVariable roles.cluster.probes[2].event.await: the environment variable SHIPIT_TEST_UNSET is not set here",
		`cluster: ProbeExpression roles.cluster.register.url: column 8`,
		`cluster: ProbeExpression roles.cluster.register.ask.expect[0]: column 1 of "sttus"`,
		"quiet: ProbeRequest roles.quiet.probe.path: the role has no port",
		"ProbeExpression functions.ids: column 6",
	} {
		require.Contains(t, lines[i], want)
	}
}
