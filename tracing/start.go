package tracing

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// sendLimit is how long the end of a command may wait for its spans to be sent.
const sendLimit = 5 * time.Second

// Start begins the trace of one command of shipit, a part of the one that TRACEPARENT
// names, if it does. end ends and sends it; its error is why spans could not be sent, which
// is no error of the command. Where the environment wants no trace, both do nothing but
// continue that of the caller.
func Start(ctx context.Context, name, version string) (in context.Context, end func(error) error, err error) {
	ctx = propagation.TraceContext{}.Extract(ctx, caller{})
	exporters, err := exporters(ctx)
	if err != nil || len(exporters) == 0 {
		return ctx, func(error) error { return nil }, err
	}
	sent := &outcome{}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "shipit"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return ctx, nil, err
	}
	options := []sdk.TracerProviderOption{sdk.WithResource(about)}
	for _, e := range exporters {
		options = append(options, sdk.WithBatcher(told{e, sent}, sdk.WithBatchTimeout(time.Second)))
	}
	provider := sdk.NewTracerProvider(options...)
	in, s := provider.Tracer(scope).Start(ctx, name)
	return in, func(failed error) error {
		finish(s, failed)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
		defer cancel()
		return errors.Join(provider.Shutdown(limited), sent.get())
	}, nil
}

// caller is the environment of this process, by which a caller passes its trace on.
type caller struct{}

func (caller) Get(key string) string { return os.Getenv(strings.ToUpper(key)) }
func (caller) Set(string, string)    {}
func (caller) Keys() []string        { return []string{"traceparent", "tracestate"} }

// exporters are the receivers of spans that the environment names.
func exporters(ctx context.Context) (out []sdk.SpanExporter, err error) {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	if e, err := configured(ctx); err != nil || e != nil {
		out = append(out, e)
		if err != nil {
			return nil, err
		}
	}
	// In a session of `dagger run` the spans go there, and it sends them on.
	if token := os.Getenv("DAGGER_CLOUD_TOKEN"); token != "" && os.Getenv("DAGGER_SESSION_PORT") == "" {
		e, err := cloud(ctx, token)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// configured is the receiver of the variables of OpenTelemetry, which the exporters read
// themselves: endpoint, headers, certificates, limits. It is nil if there is none.
func configured(ctx context.Context) (sdk.SpanExporter, error) {
	at := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	if at == "" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	switch protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"); protocol {
	case "http/protobuf", "http":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q, not http/protobuf or grpc", protocol)
	}
}

// cloud is Dagger Cloud, as the dagger program reaches it.
func cloud(ctx context.Context, token string) (sdk.SpanExporter, error) {
	at, err := url.Parse(cmp.Or(os.Getenv("DAGGER_CLOUD_URL"), "https://api.dagger.cloud"))
	if err != nil {
		return nil, fmt.Errorf("DAGGER_CLOUD_URL: %w", err)
	}
	return otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(at.JoinPath("v1", "traces").String()),
		otlptracehttp.WithHeaders(map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(token+":"))}))
}

// outcome is the first error of sending spans.
type outcome struct {
	mu  sync.Mutex
	err error
}

func (o *outcome) get() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// told is an exporter whose errors are kept: the library would print them.
type told struct {
	sdk.SpanExporter
	outcome *outcome
}

func (t told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := t.SpanExporter.ExportSpans(ctx, spans); err != nil {
		t.outcome.mu.Lock()
		defer t.outcome.mu.Unlock()
		t.outcome.err = cmp.Or(t.outcome.err, err)
	}
	return nil
}
