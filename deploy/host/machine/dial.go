package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/joelhooks/shipit/config"
)

// dialSSH opens a connection to a host whose key is in known_hosts.
func dialSSH(ctx context.Context, h config.Host, o Options) (*sshConn, error) {
	name, addr, err := parseAddress(h.Address)
	if err != nil {
		return nil, err
	}
	auth, done, err := authenticate(h.Key)
	if err != nil {
		return nil, &AuthError{Host: addr, User: name, Err: err}
	}
	defer done()
	check, algorithms, err := hostKeys(knownHostsFile(h.KnownHosts), addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no answer within %s", o.Timeout))
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &unreachableError{Host: addr, Err: cause(ctx, err)}
	}
	// The handshake takes no context: closing the connection ends it, and letting the
	// agent go ends a wait for the agent.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); done() })
	defer stop()
	settings := &ssh.ClientConfig{User: name, Auth: auth, HostKeyCallback: check, HostKeyAlgorithms: algorithms, Timeout: o.Timeout}
	c, channels, requests, err := ssh.NewClientConn(conn, addr, settings)
	if err != nil {
		return nil, errors.Join(handshakeError(ctx, err, name, addr), ignoreClosed(conn.Close()))
	}
	return watch(addr, ssh.NewClient(c, channels, requests), o.KeepAlive), nil
}

func handshakeError(ctx context.Context, err error, name, addr string) error {
	var key *hostKeyError
	switch {
	case errors.As(err, &key):
		return key
	case strings.Contains(err.Error(), "unable to authenticate"):
		return &AuthError{Host: addr, User: name, Err: err}
	default:
		return &unreachableError{Host: addr, Err: cause(ctx, err)}
	}
}

// cause is why ctx ended if it did, otherwise err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// parseAddress reads [user@]host[:port]; the user defaults to the one who runs
// shipit, the port to 22.
func parseAddress(address string) (name, addr string, err error) {
	name, rest, found := strings.Cut(address, "@")
	if !found {
		rest = address
		me, err := user.Current()
		if err != nil {
			return "", "", fmt.Errorf("host address %q names no user: %w", address, err)
		}
		name = me.Username
	}
	host, port := splitPort(rest)
	if host == "" || name == "" || strings.ContainsAny(host, " '\"\n") {
		return "", "", fmt.Errorf("host address %q is not [user@]host[:port]", address)
	}
	return name, net.JoinHostPort(host, port), nil
}

// Hostname is the host of an address [user@]host[:port].
func Hostname(address string) string {
	host, _ := splitPort(address[strings.Index(address, "@")+1:])
	return host
}

// splitPort parts host and port; the port defaults to 22.
func splitPort(addr string) (host, port string) {
	if h, p, err := net.SplitHostPort(addr); err == nil {
		return h, p
	}
	return strings.Trim(addr, "[]"), "22"
}

// knownName is how known_hosts names a host.
func knownName(host, port string) string { return knownhosts.Normalize(net.JoinHostPort(host, port)) }

// authenticate offers the key of a file, or those of the agent if file is
// empty. done closes the connection to the agent.
func authenticate(file string) (methods []ssh.AuthMethod, done func(), err error) {
	if file != "" {
		pem, err := os.ReadFile(inHome(file))
		if err != nil {
			return nil, nil, err
		}
		signer, err := ssh.ParsePrivateKey(pem)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, nil, fmt.Errorf("key %s has a passphrase: load it into the agent and leave host.key out", file)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", file, err)
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, func() {}, nil
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, errors.New("host.key names no key file, and no agent runs (SSH_AUTH_SOCK is not set)")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the agent: %w", err)
	}
	return []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(conn).Signers)}, func() { _ = conn.Close() }, nil
}

// hostKeys is the check of a host's key against a known_hosts file, and the
// algorithms of the keys that the file has for it: a server that has several
// must show one of those. A missing file knows no host.
func hostKeys(file, addr string) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(file)
	if errors.Is(err, os.ErrNotExist) {
		known = func(string, net.Addr, ssh.PublicKey) error { return &knownhosts.KeyError{} }
	} else if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", file, err)
	}
	check := func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := known(host, remote, key)
		if err == nil {
			return nil
		}
		fault := &hostKeyError{Host: addr, File: file, Fingerprint: ssh.FingerprintSHA256(key)}
		var mismatch *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		if errors.As(err, &mismatch) || errors.As(err, &revoked) {
			fault.Changed = mismatch == nil || len(mismatch.Want) > 0
			return fault
		}
		return err
	}
	var wanted *knownhosts.KeyError
	var algorithms []string
	if errors.As(known(addr, unknownAddr{}, noKey{}), &wanted) {
		for _, k := range wanted.Want {
			algorithms = append(algorithms, algorithmsOf(k.Key.Type())...)
		}
	}
	slices.Sort(algorithms)
	return check, slices.Compact(algorithms), nil
}

// algorithmsOf lists the signatures that a key type can make; RSA makes three,
// and the one with SHA-1 is not accepted.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// noKey is a key that no file has: asking for it lists those that it has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

type unknownAddr struct{}

func (unknownAddr) Network() string { return "tcp" }
func (unknownAddr) String() string  { return "0.0.0.0:0" }

func knownHostsFile(file string) string {
	if file == "" {
		file = "~/.ssh/known_hosts"
	}
	return inHome(file)
}

// inHome is the path with a leading ~/ replaced.
func inHome(p string) string {
	rest, found := strings.CutPrefix(p, "~/")
	home, err := os.UserHomeDir()
	if !found || err != nil {
		return p
	}
	return filepath.Join(home, rest)
}

// deathAfter is how long a connection may be silent before it counts as dead.
func deathAfter(keepAlive time.Duration) time.Duration { return 2 * keepAlive }
