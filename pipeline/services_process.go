package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// tests runs the image's tests in the tree that the commands left, beside its services.
func (s staging) tests(ctx context.Context, in Inputs) ([]TestResult, error) {
	if len(in.Image.Test) == 0 {
		return nil, nil
	}
	s.opts.Progress = ofTests(s.opts.Progress)
	unlock, err := s.lockPorts(ctx, in.Image)
	if err != nil {
		return nil, err
	}
	defer unlock() // when the services have ended
	ctx, end := context.WithCancelCause(ctx)
	var ended []<-chan struct{}
	defer func() {
		end(nil)
		for _, e := range ended {
			<-e
		}
	}()
	s.places = map[string]string{}
	for _, name := range serviceNames(in.Image) {
		p, err := s.startService(ctx, in, name, end)
		ended = append(ended, p.ended)
		if err == nil {
			maps.Copy(s.places, serviceVariables(name, loopback, in.Image.Services[name]))
			err = s.awaitService(ctx, in, p)
		}
		if err != nil {
			return nil, err
		}
	}
	return tests{image: in.Image, progress: s.opts.Progress, run: func(ctx context.Context, args []string, progress release.Progress) error {
		one := s
		one.opts.Progress = progress
		return one.run(ctx, in, args)
	}}.all(ctx)
}

// loopback is where the services of the embedded builder listen.
const loopback = "127.0.0.1"

// serviceProcess is a service that runs as a process of this machine.
type serviceProcess struct {
	name   string
	config config.Service
	began  time.Time
	ended  <-chan struct{} // closed when it has ended
	why    *error          // how; read it when it has ended
}

// watched runs a service in a folder, and kills it when the standard input is closed: a
// run that is killed leaves no service behind, which would hold its port.
const watched = `cd "$1" && shift || exit
exec 3<&0 </dev/null
"$@" 3<&- & service=$!
{ read -r _ <&3; kill -9 "$service"; } >/dev/null 2>&1 & watch=$!
exec 3<&-
wait "$service"
code=$?
kill "$watch" 2>/dev/null
exit "$code"`

// startService starts a service in a folder of its own. If it ends before it is told
// to, broken is called with a *ServiceError.
func (s staging) startService(ctx context.Context, in Inputs, name string, broken context.CancelCauseFunc) (serviceProcess, error) {
	ended := make(chan struct{})
	p := serviceProcess{name: name, config: in.Image.Services[name], began: time.Now(), ended: ended, why: new(error)}
	for _, port := range p.config.Ports {
		if answers(ctx, port) {
			close(ended)
			return p, &ServiceError{Name: name, Err: fmt.Errorf("port %d of this machine is in use already", port)}
		}
	}
	s.opts.report(release.MarkStart, "start the service %s", name)
	folder := filepath.Join("services", name)
	if err := mkdir(filepath.Join(s.home(), folder)); err != nil {
		close(ended)
		return p, err
	}
	line := append([]string{"/bin/sh", "-c", watched, "sh", filepath.Join(s.seen, "home", folder)}, p.config.Command...)
	if !s.opts.shared {
		line = s.isolate(ctx, line)
	}
	cmd := process.Group(ctx, line[0], line[1:]...)
	env, _ := s.environment(nil)
	cmd.Dir, cmd.Env = s.tree(), process.Environment(env, p.config.Env)
	if _, err := cmd.StdinPipe(); err != nil { // which is open as long as this process lives
		close(ended)
		return p, err
	}
	go func() {
		defer close(ended)
		tail, err := process.Stream(cmd, nil, func(string) {})
		if ctx.Err() == nil {
			*p.why = &ServiceError{Name: name, Err: cmp.Or(err, errors.New("ended")), Tail: tail}
			broken(*p.why)
		}
	}()
	return p, nil
}

// awaitService waits until all ports of a service take connections and the command that
// asks it succeeds.
func (s staging) awaitService(ctx context.Context, in Inputs, p serviceProcess) error {
	limited, cancel := within(ctx, p.config)
	defer cancel()
	for _, port := range p.config.Ports {
		for !answers(limited, port) {
			select {
			case <-p.ended:
				return cmp.Or(*p.why, context.Cause(ctx))
			case <-limited.Done():
				return cmp.Or(context.Cause(ctx), error(&ServiceError{Name: p.name, Err: fmt.Errorf("port %d: %w", port, context.Cause(limited))}))
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	if len(p.config.Ready) > 0 {
		quiet := s
		quiet.opts.Progress = nil
		patient, cancel := asking(ctx, p.config)
		defer cancel()
		if err := quiet.run(patient, in, untilReady(p.config)); err != nil {
			return notReady(ctx, p.name, err)
		}
	}
	s.opts.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "service " + p.name + " is ready", Took: time.Since(p.began)})
	return nil
}

// notReady is why a service is not ready, by the error of the command that asks.
func notReady(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var asked *CommandError
	if !errors.As(err, &asked) {
		return &ServiceError{Name: name, Err: err}
	}
	return &ServiceError{Name: name, Err: errors.New("is not ready"), Tail: asked.Tail}
}

// answers reports whether something takes connections on a port of this machine.
func answers(ctx context.Context, port int) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
