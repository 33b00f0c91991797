package host

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy"
	"github.com/joelhooks/shipit/release"
)

func TestAServiceIsReachedAtItsMachine(t *testing.T) {
	target, err := Open(t.Context(), configFor(t, map[string]string{"a": ""}), Options{})
	require.NoError(t, err)
	defer target.Close()
	env := map[string]string{"INNGEST_SERVE_HOST": "http://panda:3111"}
	for name, tt := range map[string]struct {
		address string
		port    int
		want    []string
	}{
		"named with user and port":  {"deploy@panda.local:2222", 3111, []string{"panda.local:3111"}},
		"by an address of IPv6":     {"[fd00::1]", 3111, []string{"[fd00::1]:3111"}},
		"without a port":            {"panda.local", 0, nil},
		"on the machine of shipit":  {release.LocalMachine, 3111, nil},
		"that its record names not": {"", 3111, nil},
	} {
		t.Run(name, func(t *testing.T) {
			definition, err := json.Marshal(release.ServiceDefinition{Kind: "systemd", Address: tt.address, Port: tt.port, Env: env})
			require.NoError(t, err)
			require.Equal(t, deploy.Reach{Env: env, Hosts: tt.want}, target.Reach(release.Role{Name: "a", Objects: []json.RawMessage{definition}}))
		})
	}
}
