package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshConn runs commands over one SSH connection.
type sshConn struct {
	addr   string
	client *ssh.Client
	slots  chan struct{} // sshd allows 10 sessions a connection by default
	dead   chan struct{} // closed when the connection is
	quit   chan struct{} // closed by close
	once   sync.Once
	why    error // read after dead is closed
}

// watch takes over the client, and closes it when keep-alive requests are not answered.
func watch(addr string, client *ssh.Client, keepAlive time.Duration) *sshConn {
	c := &sshConn{addr: addr, client: client, slots: make(chan struct{}, 8), dead: make(chan struct{}), quit: make(chan struct{})}
	silent := make(chan error, 1)
	go c.keepAlive(keepAlive, silent)
	go func() {
		err := client.Wait()
		select {
		case err = <-silent:
		default:
		}
		if err == nil {
			err = errors.New("the other side closed it")
		}
		c.why = err
		close(c.dead)
	}()
	return c
}

func (c *sshConn) keepAlive(every time.Duration, silent chan<- error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-c.quit:
			return
		case <-c.dead:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		limit := time.NewTimer(deathAfter(every))
		select {
		case <-answered: // an error here ends client.Wait as well
			limit.Stop()
		case <-limit.C:
			silent <- fmt.Errorf("no keep-alive answer for %s", deathAfter(every))
			_ = c.client.Close()
			return
		case <-c.quit:
			limit.Stop()
			return
		}
	}
}

func (c *sshConn) run(ctx context.Context, cmd Command) (Result, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("run %s: %w", cmd.program(), context.Cause(ctx))
	case <-c.dead:
		return Result{}, c.lost(cmd.program())
	}
	type end struct {
		res Result
		err error
	}
	ended, opened := make(chan end, 1), make(chan *ssh.Session, 1)
	go func() {
		session, err := c.client.NewSession()
		if err != nil {
			ended <- end{err: err}
			return
		}
		opened <- session
		res, err := runSession(session, cmd)
		ended <- end{res, err}
	}()
	select {
	case e := <-ended:
		return e.res, c.explain(e.err, cmd)
	case <-c.dead:
		return Result{}, c.lost(cmd.program())
	case <-ctx.Done():
		go abandon(opened, c.dead)
		return Result{}, fmt.Errorf("run %s: %w", cmd.program(), context.Cause(ctx))
	}
}

// abandon asks the program of a session to end. It may block for as long as the
// connection does, so nobody waits for it.
func abandon(opened <-chan *ssh.Session, dead <-chan struct{}) {
	select {
	case session := <-opened:
		_ = session.Signal(ssh.SIGTERM)
		_ = session.Close()
	case <-dead:
	}
}

func runSession(session *ssh.Session, cmd Command) (Result, error) {
	defer session.Close()
	stdout, stderr := &capped{limit: stdoutCap}, &capped{limit: stderrCap}
	session.Stdin, session.Stdout, session.Stderr = cmd.Stdin, stdout, stderr
	err := session.Run(cmd.line())
	res := Result{Stdout: stdout.text.String(), Stderr: stderr.text.String()}
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		res.Exit = exit.ExitStatus()
		if res.Exit == 0 {
			res.Exit = 128
		}
		return res, nil
	}
	return res, err
}

// explain tells a lost connection from an error of the command's input.
func (c *sshConn) explain(err error, cmd Command) error {
	if err == nil {
		return nil
	}
	var missing *ssh.ExitMissingError
	select {
	case <-c.dead:
		return c.lost(cmd.program())
	case <-time.After(50 * time.Millisecond): // the reader of the connection learns of its end a moment later
	}
	if errors.As(err, &missing) || strings.HasSuffix(err.Error(), "EOF") {
		return &LostError{Host: c.addr, Doing: cmd.program(), Err: err}
	}
	return fmt.Errorf("run %s on %s: %w", cmd.program(), c.addr, err)
}

func (c *sshConn) lost(doing string) error {
	return &LostError{Host: c.addr, Doing: doing, Err: c.why}
}

func (c *sshConn) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.client.DialContext(ctx, "tcp", addr)
	if err == nil {
		return conn, nil
	}
	select {
	case <-c.dead:
		return nil, c.lost("connect to " + addr)
	default:
		return nil, fmt.Errorf("connect to %s on %s: %w", addr, c.addr, err)
	}
}

func (c *sshConn) alive() bool {
	select {
	case <-c.dead:
		return false
	default:
		return true
	}
}

func (c *sshConn) close() error {
	var err error
	c.once.Do(func() {
		close(c.quit)
		err = ignoreClosed(c.client.Close())
	})
	return err
}
