package manifests

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

func TestServicesRefuseWhatTheyCannotSay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*roleInput)
		want   string
	}{
		{"no command", func(in *roleInput) { in.Role.Host.Command = nil }, "has no command"},
		{"a root that is not absolute", func(in *roleInput) { in.Role.Host.Root = "srv" }, "no absolute path"},
		{"an environment file that is not absolute", func(in *roleInput) { in.Role.Host.EnvFile = "env" }, "no absolute path"},
		{"a new line in a path", func(in *roleInput) { in.Role.Host.Root = "/srv\nExecStartPre=/bin/false" }, "control character"},
		{"a new line in the user", func(in *roleInput) { in.Role.Host.User = "bus\nRoot=yes" }, "control character"},
		{"a variable's name with a space", func(in *roleInput) { in.Role.Env = map[string]string{"A B": ""} }, "no name of an environment variable"},
		{"a control character in a variable", func(in *roleInput) { in.Role.Env = map[string]string{"A": "\x1b[0m"} }, "control character, which systemd drops"},
		{"a zero byte in a variable", func(in *roleInput) { in.Role.Env = map[string]string{"A": "\x00"} }, "zero byte"},
		{"a zero byte in the command", func(in *roleInput) { in.Role.Host.Command = []string{"a", "\x00"} }, "zero byte"},
		{"a user in a user's domain", func(in *roleInput) { in.Role.Host.User, in.Role.Host.Domain = "bus", "user" }, "cannot be set in domain user"},
		{"a program started by a limit", func(in *roleInput) {
			in.Role.Host.Limits = map[string]string{"ExecStartPre": "/usr/bin/git pull"}
		}, "no resource limit"},
		{"a second line in a limit", func(in *roleInput) {
			in.Role.Host.Limits = map[string]string{"MemoryMax": "1G\nExecStartPre=/usr/bin/git pull"}
		}, "no resource limit"},
		{"a prefix with a meaning", func(in *roleInput) { in.Role.Host.Command = []string{"+bun"} }, "a character that systemd gives a meaning"},
		{"a character that XML cannot hold", func(in *roleInput) {
			in.Role.Host.Manager, in.Role.Env = "launchd", map[string]string{"A": "\x01"}
		}, "XML cannot"},
	} {
		t.Run(tc.name+" is refused", func(t *testing.T) {
			in := hostInput()
			_, err := serviceDefinition(in)
			require.NoError(t, err, "the input is good before it is changed")
			tc.change(&in)
			_, err = serviceDefinition(in)
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "role host")
		})
	}
}

func TestPropertyListsHoldTheVeryText(t *testing.T) {
	const odd = "<a & \"b\"> 'c'\n]]>\tü"
	in := hostInput()
	in.Role.Host.Manager, in.Role.Host.Command = "launchd", []string{"/bin/echo", odd}
	raw, err := serviceDefinition(in)
	require.NoError(t, err)
	var d release.ServiceDefinition
	require.NoError(t, json.Unmarshal(raw, &d))
	var doc struct {
		Arguments []string `xml:"dict>array>string"`
	}
	require.NoError(t, xml.Unmarshal([]byte(d.Content), &doc))
	require.Equal(t, []string{"/bin/echo", odd}, doc.Arguments)
}

func hostInput() roleInput {
	return roleInput{
		App: "system-bus", SHA: strings.Repeat("a", 40), Repository: "ghcr.io/a/b", Digest: workerDigest,
		Image: config.Image{Package: "packages/gateway"},
		Role:  config.Role{Name: "host", Host: &config.Host{Manager: "systemd", Service: "gateway", Command: []string{"bun"}}},
	}
}

func TestARoleWithoutATargetIsAFault(t *testing.T) {
	_, err := render(roleInput{Role: config.Role{Name: "lost"}})
	require.EqualError(t, err, `role lost: has no target that can be rendered, but ""`)
}
