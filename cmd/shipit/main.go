// Command shipit carries a git commit of a monorepo to everything that runs
// it, proves that it got there, and carries it back.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/joelhooks/shipit/pipeline"
)

// moment is the time in which several signals are one.
const moment = time.Second

func main() {
	easeStart()
	os.Exit(run(context.Background()))
}

// run is main with an exit code, so that tests can call it by name.
func run(ctx context.Context) int {
	// Build commands run as the same user; they must find no secret in /proc.
	pipeline.HideEnvironment()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A moment after the first signal the default handling is restored, so that a second
	// one kills. Within that moment it is the same one: `timeout` and CI runners signal
	// the process and its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(moment, stop) })
	return execute(ctx, os.Args[1:], terminal{out: os.Stdout, err: os.Stderr})
}
