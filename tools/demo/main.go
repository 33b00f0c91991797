// Command demo is `make demo`: it brings up a cluster, a host and a registry,
// makes a repository of the sample monorepo, and types what a person would type:
// two releases, a gateway that is moved by hand, a release that fails and is
// taken back, a rollback. Every step's exit code and the parity after it are
// checked. It leaves nothing running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

func main() {
	simulated := flag.Bool("simulated", false, "pods by kwok and no host, even where real ones can run")
	flag.Parse()
	os.Exit(run(*simulated))
}

func run(simulated bool) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	// The commands are not in the terminal's foreground: what they set of it must not stop them.
	signal.Ignore(syscall.SIGTTOU)
	err := show(ctx, shapeOf(simulated), os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted; what it had started is ended and removed")
		return 130
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

// show brings up what the story needs, plays it and takes everything down.
func show(ctx context.Context, s shape, out io.Writer, terminal bool) (err error) {
	start := time.Now()
	root, err := cluster.Repository()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shipit-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := bringUp(ctx, root, dir, s, screen(out, terminal))
	defer func() { err = errors.Join(err, g.down(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	p := &play{ground: g, out: out, up: time.Since(start)}
	if err := p.makeRepository(ctx, root); err != nil {
		return err
	}
	err = p.perform(ctx)
	if ctx.Err() == nil {
		p.summary()
	}
	return err
}
