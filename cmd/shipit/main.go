// Command shipit carries a git commit of a monorepo to everything that runs
// it, proves that it got there, and carries it back.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/joelhooks/shipit/pipeline"
)

func main() { os.Exit(run(context.Background())) }

// run is main with an exit code, so that tests can call it by name.
func run(ctx context.Context) int {
	// Build commands run as the same user; they must find no secret in /proc.
	pipeline.HideEnvironment()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal restores the default handling, so that a second one kills.
	context.AfterFunc(ctx, stop)
	return execute(ctx, os.Args[1:], terminal{out: os.Stdout, err: os.Stderr})
}
