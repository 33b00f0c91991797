package cluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/joelhooks/shipit/tools/waiting"
)

// Compilation is one go build: packages of one module become programs.
type Compilation struct {
	What        string   // for people
	Dir         string   // in the module
	Packages    []string // in the module, or of what it requires
	Out         string   // -o; with a separator at its end a folder
	Flags       []string // those of every build that shares compiled packages with this one
	LinkerFlags string
	// CompilerFlags are those of -gcflags; empty gives none.
	CompilerFlags string
	Seconds       int // of CPU that it takes with an empty cache
}

// unknown is how many packages have to be compiled before go has told.
const unknown = -1

// linkTime is how long linking a large program takes.
const linkTime = 10 * time.Second

// Run builds, and tells every few seconds about how long it still takes. A nil
// progress is silent. When ctx ends, so does go.
func (c Compilation) Run(ctx context.Context, progress func(string)) error {
	var compiled, all atomic.Int64
	all.Store(unknown)
	done := waiting.For(progress, "building "+c.What, func(took time.Duration) time.Duration {
		return c.left(took, int(compiled.Load()), int(all.Load()))
	})
	defer done()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ended: // most builds find all in the cache
		case <-time.After(2 * time.Second):
			if n, err := c.missing(ctx); err == nil {
				all.Store(compiled.Load() + int64(n))
			}
		}
	}()
	cmd := c.command(ctx, "-v")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last []string
	for lines := bufio.NewScanner(pipe); lines.Scan(); compiled.Add(1) {
		last = append(last, lines.Text()) // -v names each package, among the errors
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", c.Dir, err, strings.Join(last[max(0, len(last)-15):], "\n"))
	}
	return nil
}

// left estimates what a build still takes, by the share of its packages that is
// compiled: at first from the CPU time that it took elsewhere, and the further it
// is the more from its own pace.
func (c Compilation) left(took time.Duration, compiled, all int) time.Duration {
	usual := float64(c.Seconds) * float64(time.Second) / float64(min(runtime.NumCPU(), 6))
	switch {
	case all == unknown && took == 0:
		return 0
	case all == unknown:
		return time.Duration(usual) + linkTime - took
	case all == 0:
		return linkTime - took
	}
	share := min(float64(compiled)/float64(all), 1)
	guess := usual * (1 - share)
	if share > 0 {
		pace := float64(took) * (1 - share) / share
		guess = guess*(1-share) + pace*share
	}
	return time.Duration(guess) + linkTime
}

// missing is how many packages the cache lacks.
func (c Compilation) missing(ctx context.Context) (int, error) {
	cmd := c.command(ctx, "-n")
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	return strings.Count(out.String(), "/compile -o "), err
}

// command is go build with one more flag. The end of ctx interrupts it, so that it
// removes its temporary folder.
func (c Compilation) command(ctx context.Context, flag string) *exec.Cmd {
	args := []string{"build", flag, "-o", c.Out, "-ldflags", c.LinkerFlags}
	if c.CompilerFlags != "" {
		args = append(args, "-gcflags", c.CompilerFlags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, c.Packages...)...)
	cmd.Dir = c.Dir
	cmd.Env = append(goEnv(), "GOFLAGS="+strings.Join(c.Flags, " "))
	cmd.Stdout = io.Discard
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// goEnv is the environment to build in: the same flags whoever calls, so that
// the compiler's cache is shared, and nothing of the caller's workspace. The
// compiler is a short-lived program with little garbage to collect: it spends a
// quarter less time when its heap may grow to five times what lives instead of two.
func goEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GO111MODULE", "CGO_ENABLED", "GOGC":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "CGO_ENABLED=0", "GOWORK=off", "GOGC=400")
}
