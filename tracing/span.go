// Package tracing is what shipit does as spans: the environment says, as OpenTelemetry and
// Dagger define it, whether and where a trace is wanted.
package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/joelhooks/shipit"

// Span begins a span of that name in the trace of ctx, if there is one. end ends it, with
// the error of what it stands for; call it once.
func Span(ctx context.Context, name string) (in context.Context, end func(error)) {
	in, s := trace.SpanFromContext(ctx).TracerProvider().Tracer(scope).Start(ctx, name)
	return in, func(err error) { finish(s, err) }
}

func finish(s trace.Span, err error) {
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		s.SetStatus(codes.Error, first)
	}
	s.End()
}
