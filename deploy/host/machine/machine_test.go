package machine

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/hosttest"
)

func TestEveryWordReachesTheProgramAsItIs(t *testing.T) {
	argv := append([]string{"printf", `%s\0`}, hosttest.Hostile()...)
	for _, shell := range []string{"sh", "bash"} {
		t.Run("through the login shell "+shell, func(t *testing.T) {
			cmd := exec.Command(shell, "-c", Command{Argv: argv}.line())
			cmd.Dir = t.TempDir()
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, strings.Join(hosttest.Hostile(), "\x00")+"\x00", string(out))
			require.NoFileExists(t, cmd.Dir+"/pwned")
		})
	}
	t.Run("as an argument of a script", func(t *testing.T) {
		cmd := exec.Command("sh", "-c", Script(`printf '%s\0' "$@"`, hosttest.Hostile()...).line())
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, strings.Join(hosttest.Hostile(), "\x00")+"\x00", string(out))
	})
}

func TestACommandThatPrintsALotIsNotReadToItsEnd(t *testing.T) {
	m := here(t)
	res, err := m.Read(t.Context(), Script(`head -c 9000000 /dev/zero | tr '\0' o; head -c 100000 /dev/zero | tr '\0' e >&2`))
	require.NoError(t, err)
	require.Len(t, res.Stdout, stdoutCap)
	require.Len(t, res.Stderr, stderrCap)
}

func TestAnAddressIsReadStrictly(t *testing.T) {
	for _, c := range []struct{ address, user, addr string }{
		{"joel@mac.local", "joel", "mac.local:22"},
		{"joel@mac.local:2222", "joel", "mac.local:2222"},
		{"root@[fd00::1]:22", "root", "[fd00::1]:22"},
		{"root@[fd00::1]", "root", "[fd00::1]:22"},
	} {
		user, addr, err := parseAddress(c.address)
		require.NoError(t, err)
		require.Equal(t, c.user, user)
		require.Equal(t, c.addr, addr)
	}
	for _, bad := range []string{"@host", "root@", "root@two words", "a@b'c"} {
		_, _, err := parseAddress(bad)
		require.Error(t, err, bad)
	}
}

func TestAnUnknownHostKeySaysWhatToDo(t *testing.T) {
	unknown := &hostKeyError{Host: "mac.local:22", File: "/home/joel/.ssh/known_hosts", Fingerprint: "SHA256:abc"}
	require.Contains(t, unknown.Hint(), "ssh-keyscan -p 22 mac.local >> /home/joel/.ssh/known_hosts")
	unknown.Changed = true
	require.Contains(t, unknown.Hint(), "ssh-keygen -f /home/joel/.ssh/known_hosts -R 'mac.local'")
}

func TestConnectRefusesAnAddressThatIsNone(t *testing.T) {
	_, err := connect(t.Context(), config.Host{Address: "root@two words"}, Options{})
	require.ErrorContains(t, err, "is not [user@]host[:port]")
}

func TestMessagesNameAProgramWithoutItsWords(t *testing.T) {
	require.Equal(t, "systemctl start", Command{Argv: []string{"/usr/bin/systemctl", "--system", "start", "secret.service"}}.program())
	require.Equal(t, "sh", Script("echo secret").program())
}
