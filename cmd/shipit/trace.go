package main

import (
	"context"
	"fmt"

	"github.com/joelhooks/shipit/tracing"
)

// traced begins the trace of a command, where the environment wants one. What goes wrong
// with it is told, and fails nothing.
func traced(ctx context.Context, name string, term terminal) (in context.Context, end func(error)) {
	in, finish, err := tracing.Start(ctx, name, version())
	if err != nil {
		fmt.Fprintf(term.err, "· no trace: %v\n", err)
		return ctx, func(error) {}
	}
	return in, func(failed error) {
		if err := finish(failed); err != nil {
			fmt.Fprintf(term.err, "· the trace was not sent: %v\n", err)
		}
	}
}
