package machine

import (
	"context"
	"crypto/ed25519"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/joelhooks/shipit/config"
)

// sshServer shakes hands with whoever comes and lets nobody in.
func sshServer(t *testing.T) (addr, knownHosts string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	settings := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, net.ErrClosed }}
	settings.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _, _, _ = ssh.NewServerConn(conn, settings) }()
		}
	}()
	file := filepath.Join(t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{knownhosts.Normalize(l.Addr().String())}, key.PublicKey())
	require.NoError(t, os.WriteFile(file, []byte(line+"\n"), 0o600))
	return l.Addr().String(), file
}

// silent listens on a socket and never answers.
func silent(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		var open []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open = append(open, conn)
		}
	}()
	return socket
}

func TestASilentAgentEndsWithTheLimit(t *testing.T) {
	addr, known := sshServer(t)
	t.Setenv("SSH_AUTH_SOCK", silent(t))
	for name, limit := range map[string]time.Duration{"of connecting": 300 * time.Millisecond, "of its caller": time.Minute} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := dialSSH(ctx, config.Host{Address: "somebody@" + addr, KnownHosts: known}, Options{Timeout: limit})
				ended <- err
			}()
			select {
			case err := <-ended:
				require.Error(t, err)
				require.NotContains(t, err.Error(), "\n")
			case <-time.After(10 * time.Second):
				t.Fatal("it waits for an agent that says nothing")
			}
		})
	}
}
