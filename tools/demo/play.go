package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// play is one performance of the story.
type play struct {
	*ground
	out   io.Writer
	repo  string
	up    time.Duration     // how long it took until the story could begin
	v1    map[string]string // the digest of every role of v1
	ended []ended
}

// ended is a step that was played.
type ended struct {
	line   string
	code   int
	parity string
	took   time.Duration
	fault  error
}

// perform plays the steps up to the first that does not end as it must.
func (p *play) perform(ctx context.Context) error {
	steps := p.story()
	for i, s := range steps {
		fmt.Fprintf(p.out, "\n━━ %d of %d: %s\n", i+1, len(steps), s.shows)
		e := p.step(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.ended = append(p.ended, e)
		if e.fault != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.line, e.fault)
		}
	}
	return nil
}

// step plays one step and checks how it ended.
func (p *play) step(ctx context.Context, s step) ended {
	e := ended{line: s.line, parity: "?"}
	if s.looks {
		e.parity = "nothing changed"
	}
	if e.fault = p.prepare(ctx, s); e.fault != nil {
		return e
	}
	start := time.Now()
	e.code, e.fault = p.typed(ctx, s.line)
	e.took = time.Since(start)
	if e.fault == nil && e.code != s.code {
		e.fault = fmt.Errorf("exit code %d, not %d", e.code, s.code)
	}
	var now state
	if e.fault == nil && !s.looks {
		e.fault = p.asked(ctx, "status", &now)
	}
	if e.fault == nil && !s.looks {
		e.parity = now.String()
		e.fault = p.runs(now, s.runs)
	}
	if e.fault == nil && s.also != nil {
		e.fault = s.also(ctx, now)
	}
	if e.fault == nil {
		fmt.Fprintf(p.out, "── exit code %d as it must be, %s (%.1fs)\n", e.code, e.parity, e.took.Seconds())
	}
	return e
}

// prepare does what comes before the command that counts.
func (p *play) prepare(ctx context.Context, s step) error {
	for _, change := range s.edits {
		if err := p.edit(change); err != nil {
			return err
		}
	}
	for _, line := range s.typed {
		if code, err := p.typed(ctx, line); err != nil || code != 0 {
			return cmp.Or(err, fmt.Errorf("%s: exit code %d", line, code))
		}
	}
	if s.hand != nil {
		return s.hand(ctx)
	}
	return nil
}

// typed shows a command line, runs it in the repository and gives its exit code.
func (p *play) typed(ctx context.Context, line string) (int, error) {
	fmt.Fprintln(p.out, "$", line)
	cmd := p.command(ctx, line)
	cmd.Stdout, cmd.Stderr = p.out, p.out
	return exitCode(cmd.Run())
}

// command is a shell's command line in the repository. Ctrl-C does not reach it
// from the terminal: the end of ctx interrupts it, once.
func (p *play) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = p.repo
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.cluster.Kubeconfig, "PATH="+filepath.Dir(p.shipit)+string(os.PathListSeparator)+os.Getenv("PATH"))
	interruptible(cmd)
	return cmd
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}
