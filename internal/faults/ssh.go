package faults

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Lost is a command that was run, and a connection that ended before its answer.
// Of SSH's commands there are also Silence, Trickle, Hangup (before the command was
// run) and Cut (half of the output, and no exit code).
const Lost Fault = "lost"

// CommandRule says which commands over SSH have a fault.
type CommandRule struct {
	Fault Fault
	After int // lets this many commands pass first
	Every int // makes each Every-th of them fail, from then on; 0 makes all fail
}

// SSH is an SSH server before an SSH server.
type SSH struct {
	Address    string // user@host:port
	KnownHosts string // file that names its key

	config *ssh.ServerConfig
	dial   func() (*ssh.Client, error)
	ended  chan struct{}

	mu    sync.Mutex
	rule  *CommandRule
	seen  int
	count int
}

// Machine is a server that a test reaches over SSH.
type Machine struct{ Address, Key, KnownHosts string }

// NewSSH is an SSH server before the one at a machine, until the test ends. It lets in everybody.
func NewSSH(t testing.TB, user string, m Machine) *SSH {
	t.Helper()
	s := &SSH{dial: dialer(t, user, m), ended: make(chan struct{})}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	s.config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	s.Address, s.KnownHosts = user+"@"+listener.Addr().String(), filepath.Join(t.TempDir(), "known_hosts")
	must(t, os.WriteFile(s.KnownHosts, []byte(knownhosts.Line([]string{listener.Addr().String()}, key)+"\n"), 0o600))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() {
		close(s.ended)
		_ = listener.Close()
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dialer(t testing.TB, user string, m Machine) func() (*ssh.Client, error) {
	t.Helper()
	pem, err := os.ReadFile(m.Key)
	must(t, err)
	signer, err := ssh.ParsePrivateKey(pem)
	must(t, err)
	known, err := knownhosts.New(m.KnownHosts)
	must(t, err)
	return func() (*ssh.Client, error) {
		return ssh.Dial("tcp", net.JoinHostPort(m.Address, "22"), &ssh.ClientConfig{
			User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known, Timeout: 10 * time.Second,
		})
	}
}

// Have makes commands fail by a rule from now on; nil heals the server.
func (s *SSH) Have(r *CommandRule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule, s.seen, s.count = r, 0, 0
}

// Faults says how many commands have failed since the rule was set.
func (s *SSH) Faults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// fault is what is to happen to a command; empty is nothing.
func (s *SSH) fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rule == nil {
		return ""
	}
	s.seen++
	late := s.seen - s.rule.After
	if late <= 0 || s.rule.Every > 0 && late%s.rule.Every != 0 {
		return ""
	}
	s.count++
	return s.rule.Fault
}

func (s *SSH) serve(conn net.Conn) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	machine, err := s.dial()
	if err != nil {
		return
	}
	defer machine.Close()
	go func() {
		for r := range requests {
			_ = r.Reply(true, nil) // signs of life
		}
	}()
	for offered := range channels {
		to, asked, err := machine.OpenChannel(offered.ChannelType(), offered.ExtraData())
		if err != nil {
			_ = offered.Reject(ssh.ConnectionFailed, err.Error())
			continue
		}
		from, asks, err := offered.Accept()
		if err != nil {
			return
		}
		if offered.ChannelType() == "session" {
			go s.session(conn, end{from, asks}, end{to, asked})
			continue
		}
		go ssh.DiscardRequests(asks)
		go ssh.DiscardRequests(asked)
		go pipe(to, from)
		go pipe(from, to)
	}
}

// end is one side of a channel.
type end struct {
	ssh.Channel
	requests <-chan *ssh.Request
}

// pipe carries bytes one way, and their end.
func pipe(to, from ssh.Channel) {
	_, _ = io.Copy(to, from)
	_ = to.CloseWrite()
}

// session carries a command to the machine, and its answer back, with its fault.
func (s *SSH) session(conn io.Closer, from, to end) {
	defer to.Close()
	go pipe(to, from)
	for r := range from.requests {
		fault := Fault("")
		if r.Type == "exec" {
			fault = s.fault()
		}
		switch fault {
		case Hangup:
			_ = conn.Close()
			return
		case Silence:
			_ = r.Reply(true, nil)
			<-s.ended
			return
		}
		ok, _ := to.SendRequest(r.Type, r.WantReply, r.Payload)
		_ = r.Reply(ok, nil)
		if r.Type == "exec" {
			go s.answer(conn, from, to, fault)
		}
	}
}

// answer carries the answer of a command back.
func (s *SSH) answer(conn io.Closer, from, to end, fault Fault) {
	defer from.Close()
	out := io.Reader(to)
	switch fault {
	case Cut, Lost:
		whole, _ := io.ReadAll(to)
		if fault == Lost {
			_ = conn.Close()
			return
		}
		_, _ = from.Write(whole[:len(whole)/2])
		return
	case Trickle:
		out = &trickle{from: to, ended: s.ended}
	}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(from, out) })
	copying.Go(func() { _, _ = io.Copy(from.Stderr(), to.Stderr()) })
	copying.Wait()
	_ = from.CloseWrite()
	for r := range to.requests {
		if r.Type == "exit-status" || r.Type == "exit-signal" {
			_, _ = from.SendRequest(r.Type, false, r.Payload)
		}
	}
}
