// Package engine connects to a Dagger engine: the session that the environment
// names, or one of our own. What is not there is found out within seconds, and
// said in one line with what to do.
package engine

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"dagger.io/dagger"
	"dagger.io/dagger/engineconn"

	"github.com/joelhooks/shipit/pipeline/process"
)

// Error is why no Dagger engine can be used, in one line.
type Error struct{ Reason, Remedy string }

func (e *Error) Error() string { return "no Dagger engine: " + e.Reason }

// Hint is what to do about it; it may be "".
func (e *Error) Hint() string { return e.Remedy }

// Each check of an engine before it is used ends within its limit: what is not
// there would otherwise be waited for over minutes.
const (
	dialLimit     = 3 * time.Second
	runtimeLimit  = 5 * time.Second
	downloadLimit = 60 * time.Second
	sessionLimit  = 2 * time.Minute // an engine may have to be pulled first
	runnerLimit   = 30 * time.Second
	drainLimit    = 10 * time.Second
)

// Variables by which Dagger is told where its session, its command line and its
// engine are.
const (
	sessionPort  = "DAGGER_SESSION_PORT"
	sessionToken = "DAGGER_SESSION_TOKEN"
	runnerHost   = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"
	cliBinary    = "_EXPERIMENTAL_DAGGER_CLI_BIN"
)

// Engine is a connection to Dagger.
type Engine struct {
	Client  *dagger.Client
	By      string // what led to it
	Version string // its own

	caller   bool              // gave the client, and closes it
	progress func(line string) // until there is an answer
	answers  atomic.Bool
	drain    time.Duration
	told     *told
	unfollow context.CancelFunc
	end      func() // of the session, if it is our own
	kill     func() // ends it without waiting
}

// Options are what a connection may need. The zero value works.
type Options struct {
	Client   *dagger.Client        // of the caller, who closes it; nil connects
	Conn     engineconn.EngineConn // a session that is there already; nil finds one
	Progress func(line string)     // is told what the session says of its start; nil is silent
	Drain    time.Duration         // how long a session of our own may take to end; 0 is 10 s
}

// Close ends the connection, and the session if it is our own.
func (e *Engine) Close() {
	if e.caller {
		return
	}
	if e.unfollow != nil {
		e.unfollow()
	}
	_ = e.Client.Close()
	if e.end != nil {
		e.end()
	}
}

// Connect finds an engine in the SDK's order: a session that is there, then one
// of our own by a command line and a runner. Errors are *Error.
func Connect(ctx context.Context, opts Options) (*Engine, error) {
	e := &Engine{drain: cmp.Or(opts.Drain, drainLimit)}
	e.progress = func(line string) {
		if opts.Progress != nil && !e.answers.Load() {
			opts.Progress(line)
		}
	}
	var conn engineconn.EngineConn
	var err error
	if opts.Client != nil {
		e.Client, e.By, e.caller = opts.Client, "a client of the caller", true
	} else if conn, err = e.open(ctx, opts.Conn); err != nil {
		return nil, err
	}
	if err := e.greet(ctx, conn); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// open connects to the session that is given, or else to one that it finds or starts.
func (e *Engine) open(ctx context.Context, conn engineconn.EngineConn) (engineconn.EngineConn, error) {
	var err error
	switch {
	case conn != nil:
		e.By = "a given connection"
	case os.Getenv(sessionPort) != "":
		e.By = sessionPort
		conn, err = presentSession(ctx)
	default:
		conn, err = e.startSession(ctx)
	}
	if err != nil {
		return nil, err
	}
	if e.Client, err = dagger.Connect(ctx, dagger.WithConn(conn)); err != nil {
		return nil, &Error{Reason: Undecorated(err.Error())}
	}
	return conn, nil
}

// greet asks the engine for its version, and follows what a session of ours tells: the
// connection of a caller's client is not known.
func (e *Engine) greet(ctx context.Context, conn engineconn.EngineConn) (err error) {
	limited, cancel := context.WithTimeout(ctx, sessionLimit)
	defer cancel()
	if e.Version, err = e.Client.Version(limited); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &Error{Reason: fmt.Sprintf("the session of %s does not answer: %s", e.By, Undecorated(process.FirstLine(err.Error()))), Remedy: "start the engine again"}
	}
	e.answers.Store(true)
	if conn == nil {
		return nil
	}
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	e.told, e.unfollow = follow(following, limited, conn), unfollow
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Find says what an engine can be reached by, without a connection to it. The error
// is an *Error.
func Find(ctx context.Context) (string, error) {
	if os.Getenv(sessionPort) == "" {
		return reachable(ctx)
	}
	_, err := presentSession(ctx)
	return sessionPort, err
}

// presentSession is the session that the variables name. Connecting never fails,
// so the port is tried.
func presentSession(ctx context.Context) (engineconn.EngineConn, error) {
	port := os.Getenv(sessionPort)
	conn, _, err := engineconn.FromSessionEnv()
	if err != nil {
		return nil, &Error{Reason: err.Error(), Remedy: fmt.Sprintf("set both %s and %s, or neither", sessionPort, sessionToken)}
	}
	if err := dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", port)); err != nil {
		return nil, &Error{
			Reason: fmt.Sprintf("%s is %s, and nothing answers there", sessionPort, port),
			Remedy: fmt.Sprintf("unset %s and %s, or run inside a new `dagger run`", sessionPort, sessionToken),
		}
	}
	return conn, nil
}

func dial(ctx context.Context, network, address string) error {
	d := net.Dialer{Timeout: dialLimit}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return c.Close()
}

// startSession looks whether an engine can be reached at all, finds the command
// line, and starts a session with it.
func (e *Engine) startSession(ctx context.Context) (engineconn.EngineConn, error) {
	by, err := reachable(ctx)
	if err != nil {
		return nil, err
	}
	e.By = by
	cli, err := e.commandLine(ctx)
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, cli, limits{start: startLimit(by), drain: e.drain}, e.progress)
	if err != nil {
		return nil, err
	}
	e.end, e.kill = s.end, s.kill
	return s, nil
}

// startLimit is how long a session may take to start. A runner that runs already
// has nothing to pull: what accepts a connection and says nothing is no engine.
func startLimit(by string) time.Duration {
	scheme, _, _ := strings.Cut(os.Getenv(runnerHost), "://")
	if by != runnerHost || strings.HasSuffix(scheme, "image") {
		return sessionLimit
	}
	return runnerLimit
}

// commandLine finds the dagger program: the one that the environment names, the
// one on the PATH, or the SDK's own version, which is downloaded once.
func (e *Engine) commandLine(ctx context.Context) (string, error) {
	if named := os.Getenv(cliBinary); named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", &Error{Reason: fmt.Sprintf("%s is %s, which cannot be run", cliBinary, named), Remedy: "unset it, or name the dagger program"}
		}
		return path, nil
	}
	if path, err := exec.LookPath("dagger"); err == nil {
		return path, nil
	}
	e.progress("dagger " + engineconn.CLIVersion + " is downloaded if it is not there")
	limited, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	path, err := engineconn.CLIDownloader{Ref: engineconn.CLIVersion, Release: true}.Download(limited)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", &Error{
			Reason: fmt.Sprintf("the dagger program is not installed and cannot be downloaded: %s", process.FirstLine(err.Error())),
			Remedy: "install it (https://docs.dagger.io/install), or name it in " + cliBinary,
		}
	}
	return path, nil
}
