package engine

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"dagger.io/dagger/engineconn"
	"go.opentelemetry.io/otel/propagation"

	"github.com/joelhooks/shipit/internal/pattern"
)

// session is a `dagger session` process of our own. The SDK starts one too, but
// leaves it behind when the engine cannot be reached: it does not end on SIGTERM.
type session struct {
	*http.Client
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the process has been collected
	ending *sync.Once
	limits
}

// limits are how long a session may take to start, and to end once its input is
// closed.
type limits struct{ start, drain time.Duration }

// Host is part of every address; the client dials the session whatever it is.
func (s session) Host() string { return "dagger" }

// Close ends the session; part of the SDK's interface.
func (s session) Close() error {
	s.end()
	return nil
}

// end closes the session's input, which asks it to end, and kills it with all
// its children if it does not.
func (s session) end() {
	s.ending.Do(func() {
		_ = s.stdin.Close()
		select {
		case <-s.ended:
		case <-time.After(s.drain):
		}
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	})
}

// openSession starts a session and waits until it says where it listens.
func openSession(ctx context.Context, cli string, limits limits, start func(line string)) (session, error) {
	cmd := exec.Command(cli, "session", "--label", "dagger.io/sdk.name:go", "--label", "dagger.io/sdk.version:"+engineconn.CLIVersion)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "DAGGER_NO_NAG=1")
	caller := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, caller)
	for name, value := range caller { // TRACEPARENT: what the session does is part of the trace
		cmd.Env = append(cmd.Env, strings.ToUpper(name)+"="+value)
	}
	s := session{cmd: cmd, ended: make(chan struct{}), ending: &sync.Once{}, limits: limits}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	s.stdin = stdin
	outRead, outWrite := io.Pipe()
	errRead, errWrite := io.Pipe()
	cmd.Stdout, cmd.Stderr = outWrite, errWrite
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return s, &Error{Reason: fmt.Sprintf("start %s: %v", cli, err)}
	}
	go func() {
		_ = cmd.Wait()
		outWrite.Close()
		errWrite.Close()
		close(s.ended)
	}()
	last := make(chan said, 1)
	go func() { last <- pass(errRead, start) }()
	params := make(chan engineconn.ConnectParams, 1)
	go readParams(outRead, params)
	if err := s.await(ctx, params, last); err != nil {
		s.kill()
		var ended *endedError
		if !errors.As(err, &ended) {
			return s, err
		}
		if misfit := versions(ended.said, versionOf(ctx, cli)); misfit != nil {
			return s, misfit
		}
		return s, ended.none
	}
	return s, nil
}

// endedError is a session that ended before it said where it listens.
type endedError struct {
	none *Error
	said said
}

func (e *endedError) Error() string { return e.none.Error() }

// versionOf is the version that a dagger program says it has; "" if it says none.
func versionOf(ctx context.Context, cli string) string {
	limited, cancel := context.WithTimeout(ctx, runtimeLimit)
	defer cancel()
	out, err := exec.CommandContext(limited, cli, "version").Output()
	if fields := strings.Fields(string(out)); err == nil && len(fields) > 1 && fields[0] == "dagger" {
		return fields[1]
	}
	return ""
}

func (s session) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.end()
}

// await takes the session's address, or says why there is none.
func (s *session) await(ctx context.Context, params <-chan engineconn.ConnectParams, last <-chan said) error {
	limit := time.NewTimer(s.start)
	defer limit.Stop()
	hint := "see whether `dagger version` and `docker version` answer"
	if engine := os.Getenv(runnerHost); engine != "" {
		hint = "see whether the engine at " + engine + " runs (" + runnerHost + ") and `dagger version` answers"
	}
	select {
	case p := <-params:
		s.Client = sessionClient(p)
		return nil
	case said := <-last:
		return &endedError{said: said, none: &Error{Reason: "`dagger session` ended: " + cmp.Or(said.last, "it said nothing"), Remedy: hint}}
	case <-limit.C:
		return &Error{Reason: fmt.Sprintf("`dagger session` did not start within %s", s.start), Remedy: hint}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readParams reads the one line by which a session says where it listens. The
// rest is read too, so that the session never waits for it.
func readParams(r io.Reader, params chan<- engineconn.ConnectParams) {
	in := bufio.NewReader(r)
	text, err := in.ReadBytes('\n')
	var p engineconn.ConnectParams
	if err == nil && json.Unmarshal(text, &p) == nil {
		params <- p
	}
	_, _ = io.Copy(io.Discard, in)
}

// drawing is what a session puts around what it has to say: the number of a
// span, the lines of its tree, a clock, and the id of a trace.
var drawing = pattern.Lazy(`^\d+ *: (┆ )*(\[[0-9dhms.]+\] \| )?|^Error: | *\[traceparent:[0-9a-f-]+\]`)

// Undecorated is what a session says without what it draws around it.
func Undecorated(line string) string {
	return strings.TrimSpace(drawing().ReplaceAllString(line, ""))
}

// said is what is known of a session by what it said.
type said struct {
	last           string // line
	client, engine string // versions; "" unless it has reached an engine
}

// What a session says of its start again and again, which means nothing to a user, and how
// it says that it has reached an engine.
var (
	usual     = pattern.Lazy(`^(dagger session|connect|consuming|starting engine|connecting to engine|starting session|creating client)\b|^cloud url=|DONE \[[0-9dhms.]+\]$|^[0-9:]+ (INF|DBG) `)
	connected = pattern.Lazy(`\bconnected name=\S* client-version=(\S+) server-version=(\S+)`)
)

// pass hands on what a session says of its start that is not usual.
func pass(r io.Reader, start func(line string)) (out said) {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		text := Undecorated(scan.Text())
		if text == "" {
			continue
		}
		out.last = text
		if m := connected().FindStringSubmatch(text); m != nil {
			out.client, out.engine = m[1], m[2]
		}
		if !usual().MatchString(text) {
			start(text)
		}
	}
	_, _ = io.Copy(io.Discard, r)
	return out
}

// sessionClient speaks to a session on a port of this machine.
func sessionClient(p engineconn.ConnectParams) *http.Client {
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(p.Port))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}}
	return &http.Client{Transport: engineconn.RoundTripperFunc(func(r *http.Request) (*http.Response, error) {
		r.SetBasicAuth(p.SessionToken, "")
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
		return transport.RoundTrip(r)
	})}
}
