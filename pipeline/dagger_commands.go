package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tracing"
)

// commands runs the image's commands; the source goes in after an install.
func (r daggerRun) commands(ctx context.Context, c *dagger.Container, p dagger.Platform) (*dagger.Container, error) {
	if err := r.prepare(ctx, c); err != nil {
		return nil, err
	}
	for i, args := range r.in.Image.Run {
		var err error
		if c, err = r.run(ctx, c, args, p); err != nil {
			return nil, err
		}
		if i == 0 && r.step != nil {
			c = c.WithDirectory(r.tree(), r.rest)
		}
	}
	return c, nil
}

// prepare puts what the commands need into the engine: the closure, and the toolchain,
// which it may have to fetch. What the first command is said to take is then its own.
func (r daggerRun) prepare(ctx context.Context, c *dagger.Container) error {
	r.opts.report(release.MarkStart, "put %s into the engine", r.in.Name)
	took, err := r.waited(ctx, "put "+r.in.Name+" into the engine", "the engine, which takes files and fetches the toolchain,", func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		return r.explain(ctx, err)
	}
	r.opts.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "put " + r.in.Name + " into the engine", Took: took})
	return nil
}

// run runs one command and returns the container after it.
func (r daggerRun) run(ctx context.Context, c *dagger.Container, args []string, p dagger.Platform) (*dagger.Container, error) {
	return r.await(ctx, c.WithExec(r.opts.around.shell(args)), args, p)
}

// await asks the engine for a container whose last step is a command. It is asked for each
// command alone, so that its start, its end and its output are told as they are.
func (r daggerRun) await(ctx context.Context, c *dagger.Container, args []string, p dagger.Platform) (*dagger.Container, error) {
	name := strings.Join(args, " ")
	if r.in.aim != nil {
		name += " for " + r.in.aim.name
	} else if len(r.in.Image.Platforms) > 1 {
		name += " for " + string(p)
	}
	r.opts.report(release.MarkStart, "run %s", name)
	began, took := time.Now(), time.Duration(0)
	quiet := &silence{opts: r.opts}
	quiet.start("`" + name + "`")
	told := map[string]int{} // lines, and how often
	ran, err := r.engine.Run(ctx, name, func(line string) {
		quiet.heard()
		told[line]++
		r.opts.report(release.MarkStep, "%s", line)
	}, func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		took = time.Since(began)
		return err
	})
	quiet.end()
	switch {
	case err != nil:
		return nil, r.explain(ctx, err)
	case ran.Cached:
		r.opts.report(release.MarkDone, "%s: as before, the engine has its result", name)
		return c, nil
	case !ran.Told:
		r.untold(ctx, c, told)
	}
	r.opts.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "ran " + name, Took: cmp.Or(ran.Took, took)})
	return c, nil
}

// untold reports what a command has printed and the engine has not told: told are the
// lines that it has, and how often.
func (r daggerRun) untold(ctx context.Context, c *dagger.Container, told map[string]int) {
	text, err := c.CombinedOutput(ctx)
	if err != nil {
		return // what it printed is not what was asked for
	}
	for _, line := range strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }) {
		if told[line] > 0 {
			told[line]--
			continue
		}
		r.opts.report(release.MarkStep, "%s", line)
	}
}

// waited runs fn in a span of that name, in which what is named works, and says how long
// it took.
func (r daggerRun) waited(ctx context.Context, span, works string, fn func(ctx context.Context) error) (time.Duration, error) {
	began, quiet := time.Now(), &silence{opts: r.opts}
	quiet.start(works)
	defer quiet.end()
	ctx, end := tracing.Span(ctx, span)
	err := fn(ctx)
	end(err)
	return time.Since(began), err
}

// explain turns a command that failed in the engine into a *CommandError.
func (r daggerRun) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exec *dagger.ExecError
	if !errors.As(err, &exec) {
		return r.unanswered(err)
	}
	var secrets []string
	for _, name := range r.in.Image.Secrets {
		if value := os.Getenv(name); value != "" {
			secrets = append(secrets, value)
		}
	}
	lines := strings.Split(strings.TrimSpace(process.Redact(exec.Stdout+"\n"+exec.Stderr, secrets)), "\n")
	args := r.unwrapped(exec.Cmd)
	return &CommandError{Args: args, Err: fmt.Errorf("exit status %d", exec.ExitCode), Tail: lines[max(0, len(lines)-process.TailLines):], hint: commandHint(r.in, args, exec.ExitCode)}
}

// unwrapped is a command line without the shells of shipit that run it. A shell of the
// user's own stays.
func (r daggerRun) unwrapped(line []string) []string {
	for _, by := range [][]string{r.noted(nil), r.opts.around.shell(nil)} {
		if len(line) > len(by) && slices.Equal(line[:len(by)], by) {
			line = line[len(by):]
		}
	}
	return line
}

// unanswered is an error that is not a command's.
func (r daggerRun) unanswered(err error) error {
	err = r.engine.Explain(err)
	var broken *engine.BrokenError
	if errors.As(err, &broken) {
		return err
	}
	text := engine.Undecorated(err.Error())
	repository, digest, _ := strings.Cut(r.in.Image.Toolchain, "@")
	if repository != "" && (strings.Contains(text, strings.TrimPrefix(repository, "docker.io/")) || strings.Contains(text, "/manifests/"+digest)) {
		return &toolchainError{ref: r.in.Image.Toolchain, cause: text}
	}
	return errors.New("dagger: " + text)
}

// toolchainError is a toolchain that an engine cannot get.
type toolchainError struct{ ref, cause string }

func (e *toolchainError) Error() string {
	return fmt.Sprintf("the engine cannot get the toolchain %s: %s", e.ref, e.cause)
}

// Hint is what to do about it.
func (e *toolchainError) Hint() string {
	return "see whether the engine's machine reaches the registry, with its own credentials, and whether the digest is there: docker manifest inspect " + e.ref
}
