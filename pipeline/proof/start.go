package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/pattern"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// start runs the entrypoint as each role of the cluster has it. One that ends
// within prove.start does not start.
func (s Subject) start(ctx context.Context, fs rootfs) ([]release.Finding, error) {
	span := time.Duration(s.Image.Prove.Start)
	if span == 0 || len(s.Image.Entrypoint) == 0 {
		return nil, nil
	}
	roles := s.Roles
	if len(roles) == 0 {
		roles = []config.Role{{}}
	}
	var out []release.Finding
	for _, r := range roles {
		f, err := s.startRole(ctx, fs, r, span)
		if err != nil {
			return nil, err
		}
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

func (s Subject) startRole(ctx context.Context, fs rootfs, r config.Role, span time.Duration) (*release.Finding, error) {
	limited, cancel := context.WithTimeoutCause(ctx, span, errStayedUp)
	defer cancel()
	box, err := s.inside(limited, fs, r, s.Image.Entrypoint)
	if err != nil {
		return nil, err
	}
	defer box.close()
	var end ending
	_, err = process.Stream(box.cmd, nil, end.add)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(context.Cause(limited), errStayedUp):
		return nil, nil
	case !box.entered():
		return nil, fmt.Errorf("%w: %s", errNotHere, end.excerpt())
	case err == nil:
		err = errors.New("exit status 0")
	}
	f := refusal(release.CodeImageStartFailed, strings.Join(s.Scripts, ", "),
		fmt.Sprintf("ended within %s: %v: %s", span, err, end.excerpt()), "it ran without a network; prove.start: 0s does not start it")
	f.Role = r.Name
	return &f, nil
}

var errStayedUp = errors.New("stayed up")

var (
	// failure matches the line by which runtimes and shells begin to tell of an error.
	failure = pattern.Lazy(`^(Uncaught |Unhandled |\S+: )?([A-Za-z_.]*(Error|Exception)( \[\w+\])?|error|fatal( error)?|panic|FATAL|ERROR)\b:?`)
	// frame matches the lines of a stack, and those with which runtimes end it.
	frame = pattern.Lazy(`^(\s+at |\s*[{}^~]*$|Bun v\d|Node\.js v\d)`)
)

// told is how many lines of a program's output are told of its end.
const told = 5

// ending is what a program said last: from its last error on, or its last lines if it
// named none.
type ending struct {
	lines []string
	named bool // the first line names the error
}

func (e *ending) add(line string) {
	switch {
	case failure().MatchString(line):
		e.lines, e.named = []string{line}, true
	case !e.named:
		e.lines = append(e.lines, line)
		e.lines = e.lines[max(0, len(e.lines)-told):]
	case len(e.lines) < told && !frame().MatchString(line):
		e.lines = append(e.lines, line)
	}
}

// excerpt is what was said, in one line that begins with the error.
func (e *ending) excerpt() string { return strings.Join(e.lines, " | ") }
